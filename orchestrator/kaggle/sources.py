"""Models and datasets of any owner: checks whether this account may read them, and downloads models."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import requests

from orchestrator.kaggle import request_bodies, responses
from orchestrator.kaggle.gateway import Access, SourceSeen
from orchestrator.kaggle.session import AuthenticatedRpc, all_pages
from orchestrator.kaggle.transfer import fetch
from orchestrator.kaggle.transport import CallFailed, InvalidResponse, NotFound, as_read
from orchestrator.platforms.file_names import safe_name
from orchestrator.platforms.port import DatasetFile, FileWanted

FILE_OF_MODEL = "models.ModelApiService/DownloadModelInstanceVersion"


class InputSources:
    """Port methods about models and datasets that sessions mount and the account need not own."""

    def __init__(self, calls: AuthenticatedRpc) -> None:
        self._calls = calls

    def model(self, ref: str) -> SourceSeen:
        """Look up a model version.

        Being able to see a model does not prove that its licence was accepted, so the URL of one of its files is
        requested too.
        """
        return self._seen(ref, self._model)

    def dataset(self, ref: str) -> SourceSeen:
        """Look up a dataset of any owner."""
        return self._seen(ref, self._dataset)

    def download_model(self, ref: str, into: Path) -> None:
        """Download every file of a model version below `into`; raises Corrupt for a name that leaves it."""

        def page(token: str | None) -> tuple[tuple[DatasetFile, ...], str | None]:
            fields = {"page_size": request_bodies.PAGE_SIZE, "page_token": token}
            request = request_bodies.model(self._calls.sdk, "ApiListModelInstanceVersionFilesRequest", ref, **fields)
            ask = self._calls.models("list_model_instance_version_files", request)
            return self._calls.read(f"the files of model {ref}", ask, responses.model_page)

        for file in all_pages(page):
            path = into / safe_name(file.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._download(ref, file, path)

    def _download(self, ref: str, file: DatasetFile, into: Path) -> None:
        request = request_bodies.model(self._calls.sdk, "ApiDownloadModelInstanceVersionRequest", ref, path=file.name)

        def open_(headers: Mapping[str, str]) -> AbstractContextManager[requests.Response]:
            return self._calls.redirected(FILE_OF_MODEL, request, headers)

        fetch(open_, into, FileWanted(size_bytes=file.size_bytes), self._calls.patience, self._calls.redact)

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
        """Raise NotFound unless Kaggle returns the URL of this model file; the file itself is not read."""
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
            self._calls.account.check()  # rejected credentials give 403 too, and must not read as DENIED
            access = Access.ABSENT if error.status == 404 else Access.DENIED
            return SourceSeen(ref=ref, access=access, reason=str(error))
