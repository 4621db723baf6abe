"""The account's own datasets: find, list, create from files, download file by file, delete."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests

from orchestrator.base.concurrency import run_concurrently
from orchestrator.base.disk import disk_errors
from orchestrator.base.errors import Refused
from orchestrator.kaggle import request_bodies, responses
from orchestrator.kaggle.blobs import BlobUploads
from orchestrator.kaggle.refusals import dataset_refused, invalidates_uploads
from orchestrator.kaggle.rpc import Ask
from orchestrator.kaggle.session import AuthenticatedRpc, all_pages, with_prefix
from orchestrator.kaggle.transfer import fetch
from orchestrator.kaggle.transport import CallFailed, NotFound, TransportLimits, as_change
from orchestrator.kaggle.upload_journal import UploadJournal
from orchestrator.platforms.port import DatasetFile, DatasetSeen, Downloaded, FileWanted, Reached, ignore_progress

UPLOADS_AT_ONCE_MAX = 4
"""Maximum number of concurrent file transfers, each with its own connection and hashing thread. Concurrency hides the
latency between transfers (connecting, requesting, syncing to disk) and helps where bandwidth is limited per
connection; it does not raise the link's total bandwidth."""


class DatasetApi:
    """The dataset methods of the port; `gateway.Gateway` documents each contract."""

    def __init__(self, calls: AuthenticatedRpc, limits: TransportLimits, uploads: Path | None) -> None:
        self._calls = calls
        self._blobs = BlobUploads(calls, limits, "DATASET")
        self._uploads = uploads
        """Folder of the upload journal; None: no journal is kept."""

    def find(self, slug: str) -> DatasetSeen | None:
        """Return the dataset's current state, or None; once it exists, its upload journal is deleted."""
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
        self._journal(slug).forget()  # it exists, even if the answer to its creation was lost
        files = self._files(slug, found.current_version_number or None) if status == "ready" else ()
        return responses.dataset_seen(found, status, files)

    def own(self, prefix: str) -> tuple[str, ...]:
        """List the slugs of the account's datasets that begin with `prefix`."""

        def page(token: str | None) -> tuple[tuple[str, ...], str | None]:
            ask = self._calls.datasets("list_datasets", request_bodies.own_datasets(self._calls.sdk, token))
            return self._calls.read("the list of datasets", ask, responses.dataset_slugs)

        return with_prefix(prefix, all_pages(page))

    def send_ahead(self, slug: str, file: Path, sha256: str) -> None:
        """Upload one file and journal its blob, where `create` finds it; does nothing without a journal."""
        if self._uploads is not None:
            once = replace(self._calls.patience, attempts_max=1)
            self._blobs.send(file, self._journal(slug, {file.name: sha256}), once)

    def create(
        self,
        slug: str,
        files: Sequence[Path],
        sha256: Mapping[str, str] | None = None,
        description: str = "",
        reached: Reached = ignore_progress,
    ) -> None:
        """Upload the files, resuming interrupted uploads, and create a private dataset from them."""
        request_bodies.check_name("dataset", slug, request_bodies.DATASET_CHARACTERS_MIN)
        with disk_errors(files[0] if files else Path()):
            request_bodies.check_size(slug, sum(path.stat().st_size for path in files))
        owner = self._calls.account.username
        journal = self._journal(slug, sha256 or {})
        tokens = run_concurrently(
            [
                partial(self._blobs.send, path, journal, self._calls.patience, partial(reached, path.name))
                for path in files
            ],
            UPLOADS_AT_ONCE_MAX,
        )
        try:
            request = request_bodies.new_dataset(self._calls.sdk, owner, slug, tokens, description)
            self._changed(f"creation of dataset {slug}", slug, "create_dataset", request)
        except Refused as error:
            if invalidates_uploads(error):
                journal.forget()
            raise
        journal.forget()

    def add_version(self, slug: str, files: Sequence[Path], notes: str) -> None:
        """Upload the files and add a version of the dataset with them."""
        journal = self._journal(slug)
        tokens = [self._blobs.send(path, journal, self._calls.patience) for path in files]
        owner = self._calls.account.username
        request = request_bodies.dataset_version(self._calls.sdk, owner, slug, tokens, notes)
        self._changed(f"new version of dataset {slug}", slug, "create_dataset_version", request)
        journal.forget()

    def download(self, slug: str, name: str, into: Path, wanted: FileWanted) -> Downloaded:
        """Download one file of the dataset."""
        request = request_bodies.dataset(
            self._calls.sdk, "ApiDownloadDatasetRequest", self._calls.account.username, slug, file_name=name
        )
        method = "datasets.DatasetApiService/DownloadDataset"

        def open_(headers: Mapping[str, str]) -> AbstractContextManager[requests.Response]:
            return self._calls.redirected(method, request, headers)

        return fetch(open_, into, wanted, self._calls.patience, self._calls.redact)

    def delete(self, slug: str) -> None:
        """Delete the dataset; one that does not exist counts as deleted."""
        ask = self._about("ApiDeleteDatasetRequest", "delete_dataset", slug)
        try:
            answer = self._calls.read(f"deletion of dataset {slug}", ask, lambda answer, _raw: answer)
        except NotFound:
            # Kaggle returns 403 both for a missing dataset and for one that the account may not delete.
            if self.find(slug) is not None:
                raise
            return
        if answer.error and self.find(slug) is not None:
            raise Refused(f"Kaggle declined to delete the dataset {slug}: {answer.error}")

    def _changed(self, what: str, slug: str, method: str, request: Any) -> None:
        try:
            answer, _ = self._calls.call(self._calls.datasets(method, request))
        except CallFailed as error:
            meaning = as_change(error, what)
            raise (dataset_refused(slug, str(error)) if type(meaning) is Refused else meaning) from error
        responses.dataset_created(answer, slug, self._calls.account.username)

    def _files(self, slug: str, version: int | None) -> tuple[DatasetFile, ...]:
        fields = {"dataset_version_number": version, "page_size": request_bodies.PAGE_SIZE}

        def page(token: str | None) -> tuple[tuple[DatasetFile, ...], str | None]:
            ask = self._about("ApiListDatasetFilesRequest", "list_dataset_files", slug, **fields, page_token=token)
            return self._calls.read(f"the files of dataset {slug}", ask, responses.dataset_page)

        try:
            return all_pages(page)
        except NotFound:
            return ()  # Kaggle has not unpacked it yet

    def _journal(self, slug: str, sha256: Mapping[str, str] = MappingProxyType({})) -> UploadJournal:
        return UploadJournal(None if self._uploads is None else self._uploads / slug, sha256)

    def _about(self, request_type: str, method: str, slug: str, **fields: Any) -> Ask:
        request = request_bodies.dataset(self._calls.sdk, request_type, self._calls.account.username, slug, **fields)
        return self._calls.datasets(method, request)
