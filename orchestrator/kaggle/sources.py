"""What others made, as this account may use it: models and datasets, asked about and never fetched."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import requests

from orchestrator.kaggle import answers, questions
from orchestrator.kaggle.door import Ask
from orchestrator.kaggle.gateway import Access, SourceSeen
from orchestrator.kaggle.retry import Patience
from orchestrator.kaggle.transport import Absent, CallFailed, Nonsense, as_read

FILE_OF_MODEL = "models.ModelApiService/DownloadModelInstanceVersion"


class Read(Protocol):
    """One question that changes nothing, asked as often as patience allows; `Absent` for 403 and 404."""

    def __call__(self, what: str, ask: Ask, understand: Callable[[Any, Mapping[str, Any]], Any]) -> Any: ...


class Sources:
    """Answers of the port about what sessions mount and the account need not own."""

    def __init__(
        self,
        sdk: Callable[[], Any],
        read: Read,
        file: Callable[[str, Any], AbstractContextManager[requests.Response]],
        check_account: Callable[[], None],
        patience: Patience,
    ) -> None:
        self._sdk = sdk
        self._read = read
        self._file = file
        """Opens the file behind a call that answers with its address."""
        self._check_account = check_account
        self._patience = patience

    def model(self, ref: str) -> SourceSeen:
        """A model's version; that it can be seen does not say that its licence was accepted, so a file is asked for too."""
        return self._seen(ref, self._model)

    def dataset(self, ref: str) -> SourceSeen:
        """Anybody's dataset."""
        return self._seen(ref, self._dataset)

    def _model(self, ref: str) -> int:
        about = questions.model(self._sdk(), "ApiGetModelInstanceRequest", ref)
        found = self._read(f"model {ref}", self._models("get_model_instance", about), answers.model_instance)
        listing = questions.model(self._sdk(), "ApiListModelInstanceVersionFilesRequest", ref)
        ask = self._models("list_model_instance_version_files", listing)
        if files := self._read(f"the files of model {ref}", ask, answers.model_files):
            smallest = min(files, key=lambda file: file.size_bytes)
            self._patience(lambda: self._require_file(ref, smallest.name))
        return found.total_uncompressed_bytes or 0

    def _dataset(self, ref: str) -> int:
        owner, _, slug = ref.partition("/")
        about = questions.dataset(self._sdk(), "ApiGetDatasetRequest", owner, slug)

        def ask(http: Any) -> Any:
            return self._sdk().datasets.DatasetApiClient(http).get_dataset(about)

        return self._read(f"dataset {ref}", ask, answers.dataset).total_bytes or 0

    def _require_file(self, ref: str, name: str) -> None:
        """Raise Absent unless Kaggle gives the address of a model's file; of the file itself nothing is read."""
        request = questions.model(self._sdk(), "ApiDownloadModelInstanceVersionRequest", ref, path=name)
        try:
            with self._file(FILE_OF_MODEL, request) as found:
                if "html" in found.headers.get("Content-Type", ""):
                    raise Nonsense("a page, and no file")
        except CallFailed as error:
            raise as_read(error, f"a file of model {ref}") from error

    def _models(self, method: str, request: Any) -> Ask:
        return lambda http: getattr(self._sdk().models.ModelApiClient(http), method)(request)

    def _seen(self, ref: str, size_of: Callable[[str], int]) -> SourceSeen:
        try:
            return SourceSeen(ref=ref, access=Access.READABLE, size_bytes=size_of(ref) or None)
        except Absent as error:
            self._check_account()  # refused credentials must not look like a closed door
            access = Access.ABSENT if error.status == 404 else Access.DENIED
            return SourceSeen(ref=ref, access=access, reason=str(error))
