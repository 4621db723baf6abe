"""The account's own datasets: looked for, made from files, fetched file by file, deleted."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests

from orchestrator.base.concurrency import run_concurrently
from orchestrator.base.disk import on_disk
from orchestrator.base.errors import Refused
from orchestrator.kaggle import request_bodies, responses
from orchestrator.kaggle.gateway import DatasetFile, DatasetSeen, Downloaded, FileWanted
from orchestrator.kaggle.refusals import dataset_refused, spoils_uploads
from orchestrator.kaggle.retry import RetryPolicy
from orchestrator.kaggle.rpc import Ask
from orchestrator.kaggle.session import AuthenticatedRpc, all_pages, beginning
from orchestrator.kaggle.transfer import fetch
from orchestrator.kaggle.transport import CallFailed, NotFound, TransportLimits, as_change
from orchestrator.kaggle.upload import upload
from orchestrator.kaggle.upload_journal import Slot, UploadJournal

ABREAST_MAX = 4
"""Files on their way at once, each with a connection and a hashing thread of its own. It is for what lies between their bytes
(connecting, asking, putting on the disk) and for lines that give each connection only so much; a line is not made wider."""


class DatasetApi:
    """Answers of the port about datasets; what each promises stands in `gateway.Gateway`."""

    def __init__(self, calls: AuthenticatedRpc, limits: TransportLimits, uploads: Path | None) -> None:
        self._calls = calls
        self._limits = limits
        self._uploads = uploads
        """Where it is noted what was begun to be sent; None: nowhere."""

    def find(self, slug: str) -> DatasetSeen | None:
        """As Kaggle has it now, or None; what was half sent for it is forgotten once it is there."""
        try:
            found = self._calls.read(
                f"dataset {slug}", self._about("ApiGetDatasetRequest", "get_dataset", slug), responses.dataset
            )
        except NotFound:
            self._calls.account.check()
            return None
        status = self._calls.read(
            f"the status of dataset {slug}",
            self._about("ApiGetDatasetStatusRequest", "get_dataset_status", slug),
            responses.dataset_status,
        )
        self._half_sent(slug).forget()  # it is there, whether or not we heard so when it was made
        files = self._files(slug, found.current_version_number or None) if status == "ready" else ()
        return responses.dataset_seen(found, status, files)

    def own(self, prefix: str) -> tuple[str, ...]:
        """Slugs of the account's datasets that begin so."""

        def page(token: str | None) -> tuple[tuple[str, ...], str | None]:
            ask = self._calls.datasets("list_datasets", request_bodies.own_datasets(self._calls.sdk, token))
            return self._calls.read("the list of datasets", ask, responses.dataset_slugs)

        return beginning(prefix, all_pages(page))

    def send_ahead(self, slug: str, file: Path, sha256: str) -> None:
        """Upload one file and note where it went, which is where `create` looks for it; without notes there is no use in it."""
        if self._uploads is not None:
            once = replace(self._calls.patience, attempts_max=1)
            self._upload(file, self._half_sent(slug, {file.name: sha256}), once)

    def create(
        self, slug: str, files: Sequence[Path], sha256: Mapping[str, str] | None = None, description: str = ""
    ) -> None:
        """Upload the files, going on where an earlier process stopped, and make a private dataset of them."""
        request_bodies.check_name("dataset", slug, request_bodies.DATASET_CHARACTERS_MIN)
        with on_disk(files[0] if files else Path()):
            request_bodies.check_size(slug, sum(path.stat().st_size for path in files))
        owner = self._calls.account.username
        half_sent = self._half_sent(slug, sha256 or {})
        tokens = run_concurrently(
            [partial(self._upload, path, half_sent, self._calls.patience) for path in files], ABREAST_MAX
        )
        try:
            self._make(slug, request_bodies.new_dataset(self._calls.sdk, owner, slug, tokens, description), owner)
        except Refused as error:
            if spoils_uploads(error):
                half_sent.forget()
            raise
        half_sent.forget()

    def download(self, slug: str, name: str, into: Path, wanted: FileWanted) -> Downloaded:
        """Fetch one of its files."""
        request = request_bodies.dataset(
            self._calls.sdk, "ApiDownloadDatasetRequest", self._calls.account.username, slug, file_name=name
        )
        method = "datasets.DatasetApiService/DownloadDataset"

        def open_(headers: Mapping[str, str]) -> AbstractContextManager[requests.Response]:
            return self._calls.redirected(method, request, headers)

        return fetch(open_, into, wanted, self._calls.patience, self._calls.redact)

    def delete(self, slug: str) -> None:
        """Delete it; one that is not there counts as deleted."""
        ask = self._about("ApiDeleteDatasetRequest", "delete_dataset", slug)
        try:
            answer = self._calls.read(f"deletion of dataset {slug}", ask, lambda answer, _raw: answer)
        except NotFound:
            # 403 is Kaggle's answer for what does not exist, and for what one may not delete.
            if self.find(slug) is not None:
                raise
            return
        if answer.error and self.find(slug) is not None:
            raise Refused(f"Kaggle declined to delete the dataset {slug}: {answer.error}")

    def _make(self, slug: str, request: Any, owner: str) -> None:
        try:
            answer, _ = self._calls.call(self._calls.datasets("create_dataset", request))
        except CallFailed as error:
            meaning = as_change(error, f"creation of dataset {slug}")
            raise (dataset_refused(slug, str(error)) if type(meaning) is Refused else meaning) from error
        responses.dataset_created(answer, slug, owner)

    def _files(self, slug: str, version: int | None) -> tuple[DatasetFile, ...]:
        fields = {"dataset_version_number": version, "page_size": request_bodies.PAGE_SIZE}

        def page(token: str | None) -> tuple[tuple[DatasetFile, ...], str | None]:
            ask = self._about("ApiListDatasetFilesRequest", "list_dataset_files", slug, **fields, page_token=token)
            return self._calls.read(f"the files of dataset {slug}", ask, responses.dataset_page)

        try:
            return all_pages(page)
        except NotFound:
            return ()  # Kaggle has not unpacked it yet

    def _upload(self, path: Path, half_sent: UploadJournal, patience: RetryPolicy) -> str:
        def start() -> Slot:
            about = path.stat()
            request = request_bodies.blob(self._calls.sdk, path.name, about.st_size, int(about.st_mtime))
            return self._calls.read_once(
                f"start of the upload of {path.name}",
                lambda http: self._calls.sdk.blobs.BlobApiClient(http).start_blob_upload(request),
                responses.slot,
            )

        return upload(path, start, self._limits, patience, self._calls.redact, half_sent)

    def _half_sent(self, slug: str, sha256: Mapping[str, str] = MappingProxyType({})) -> UploadJournal:
        return UploadJournal(None if self._uploads is None else self._uploads / slug, sha256)

    def _about(self, request_type: str, method: str, slug: str, **fields: Any) -> Ask:
        request = request_bodies.dataset(self._calls.sdk, request_type, self._calls.account.username, slug, **fields)
        return self._calls.datasets(method, request)
