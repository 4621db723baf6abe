"""What others made, as this account may use it: models and datasets, asked about and never fetched."""

from collections.abc import Callable

from orchestrator.kaggle import request_bodies, responses
from orchestrator.kaggle.gateway import Access, SourceSeen
from orchestrator.kaggle.session import AuthenticatedRpc
from orchestrator.kaggle.transport import CallFailed, InvalidResponse, NotFound, as_read

FILE_OF_MODEL = "models.ModelApiService/DownloadModelInstanceVersion"


class InputSources:
    """Answers of the port about what sessions mount and the account need not own."""

    def __init__(self, calls: AuthenticatedRpc) -> None:
        self._calls = calls

    def model(self, ref: str) -> SourceSeen:
        """A model's version; that it can be seen does not say that its licence was accepted, so a file is asked for too."""
        return self._seen(ref, self._model)

    def dataset(self, ref: str) -> SourceSeen:
        """Anybody's dataset."""
        return self._seen(ref, self._dataset)

    def _model(self, ref: str) -> int:
        about = request_bodies.model(self._calls.sdk, "ApiGetModelInstanceRequest", ref)
        found = self._calls.read(
            f"model {ref}", self._calls.models("get_model_instance", about), responses.model_instance
        )
        listing = request_bodies.model(self._calls.sdk, "ApiListModelInstanceVersionFilesRequest", ref)
        ask = self._calls.models("list_model_instance_version_files", listing)
        if files := self._calls.read(f"the files of model {ref}", ask, responses.model_files):
            smallest = min(files, key=lambda file: file.size_bytes)
            self._calls.patience(lambda: self._require_file(ref, smallest.name))
        return found.total_uncompressed_bytes or 0

    def _dataset(self, ref: str) -> int:
        owner, _, slug = ref.partition("/")
        about = request_bodies.dataset(self._calls.sdk, "ApiGetDatasetRequest", owner, slug)
        ask = self._calls.datasets("get_dataset", about)
        return self._calls.read(f"dataset {ref}", ask, responses.dataset).total_bytes or 0

    def _require_file(self, ref: str, name: str) -> None:
        """Raise Absent unless Kaggle gives the address of a model's file; of the file itself nothing is read."""
        request = request_bodies.model(self._calls.sdk, "ApiDownloadModelInstanceVersionRequest", ref, path=name)
        try:
            with self._calls.redirected(FILE_OF_MODEL, request, {}) as found:
                if "html" in found.headers.get("Content-Type", ""):
                    raise InvalidResponse("a page, and no file")
        except CallFailed as error:
            raise as_read(error, f"a file of model {ref}") from error

    def _seen(self, ref: str, size_of: Callable[[str], int]) -> SourceSeen:
        try:
            return SourceSeen(ref=ref, access=Access.READABLE, size_bytes=size_of(ref) or None)
        except NotFound as error:
            self._calls.account.check()  # refused credentials must not look like a closed door
            access = Access.ABSENT if error.status == 404 else Access.DENIED
            return SourceSeen(ref=ref, access=access, reason=str(error))
