"""The Kaggle door: `KaggleGateway` keeps the port's promises through kagglesdk's own client.

The only module that imports kagglesdk, and only when the first call is made. It never imports `kaggle`, whose import prints,
calls the network and may end the process. Requests are kagglesdk's types, so that what goes over the wire is what Kaggle's
own client would send; the HTTP session underneath is ours, because Kaggle's has no time limits, prefers a stale token to
credentials that were given explicitly, and hides the server's reason.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from orchestrator.clock import SystemClock
from orchestrator.errors import Corrupt, Refused, Transient
from orchestrator.kaggle import answers, questions
from orchestrator.kaggle.account import Account
from orchestrator.kaggle.credentials import Credentials, find_credentials
from orchestrator.kaggle.door import Answer, Ask, Door, KaggleSignIn
from orchestrator.kaggle.endpoint import limits_for, server_url
from orchestrator.kaggle.gateway import (
    DatasetFile,
    DatasetSeen,
    Downloaded,
    FileWanted,
    KernelFound,
    KernelListed,
    KernelPush,
    KernelPushed,
    LogLine,
    OutputFile,
    Quota,
    SessionSeen,
    SourceSeen,
    Worker,
)
from orchestrator.kaggle.half_sent import HalfSent, Slot
from orchestrator.kaggle.logs import lines_of_log
from orchestrator.kaggle.retry import Patience
from orchestrator.kaggle.sources import Sources
from orchestrator.kaggle.streams import Follower, OpenLog, read_now
from orchestrator.kaggle.transfer import fetch, opener
from orchestrator.kaggle.transport import Absent, Answered, CallFailed, Limits, Nonsense, as_change, as_read
from orchestrator.kaggle.upload import upload

T = TypeVar("T")


@functools.cache
def _sdk() -> SimpleNamespace:
    with contextlib.redirect_stdout(sys.stderr):
        from kagglesdk import kaggle_env, kaggle_http_client
        from kagglesdk.blobs.services import blob_api_service as blobs
        from kagglesdk.blobs.types import blob_api_service as blob_types
        from kagglesdk.datasets.services import dataset_api_service as datasets
        from kagglesdk.datasets.types import dataset_api_service as dataset_types
        from kagglesdk.datasets.types import dataset_enums
        from kagglesdk.kernels.services import kernels_api_service as kernels
        from kagglesdk.kernels.types import kernels_api_service as kernel_types
        from kagglesdk.kernels.types import kernels_enums as kernel_enums
        from kagglesdk.models.services import model_api_service as models
        from kagglesdk.models.types import model_api_service as model_types
        from kagglesdk.models.types.model_enums import ModelFramework
        from kagglesdk.security.services import oauth_service as oauth
        from kagglesdk.security.types import oauth_service as oauth_types
        from kagglesdk.users.services import account_service as users
        from kagglesdk.users.types import account_service as user_types
    return SimpleNamespace(
        kaggle_env=kaggle_env,
        kaggle_http_client=kaggle_http_client,
        blobs=blobs,
        blob_types=blob_types,
        datasets=datasets,
        dataset_types=dataset_types,
        dataset_enums=dataset_enums,
        kernels=kernels,
        kernel_types=kernel_types,
        kernel_enums=kernel_enums,
        models=models,
        model_types=model_types,
        ModelFramework=ModelFramework,
        oauth=oauth,
        oauth_types=oauth_types,
        users=users,
        user_types=user_types,
    )


class KaggleGateway:
    """`gateway.Gateway` over Kaggle's API. Safe to use from several threads; holds no connection between calls."""

    def __init__(
        self,
        credentials: Sequence[Credentials],
        url: str | None,
        *,
        sleep: Callable[[float], None],
        stopping: Callable[[], bool] = lambda: False,
        limits: Limits | None = None,
        uploads: Path | None = None,
    ) -> None:
        self.warnings = tuple(dict.fromkeys(text for one in credentials for text in one.warnings))
        """Sentences for the user about how the credentials are kept."""
        self._uploads = uploads
        """Where it is noted what was begun to be sent; None: nowhere."""
        self._limits = limits or limits_for(url)
        self._patience = Patience(
            sleep=sleep,
            stopping=stopping,
            wait_first_s=self._limits.retry_s,
            attempts_max=self._limits.attempts_max,
        )
        self._door = Door(_sdk, url, self._limits, self._redact)
        self._account = Account(credentials, KaggleSignIn(self._door, _sdk, self._patience))
        self._sources = Sources(
            _sdk,
            self._read,
            lambda method, request: self._door.redirected(method, request, {}, self._account.authorization),
            self._account.check,
            self._patience,
        )

    # --- account ------------------------------------------------------------

    def owner(self) -> str:
        self._account.check_once()
        return self._account.username

    def quota(self, accelerator: str) -> Quota | None:
        if accelerator not in ("tpu", "gpu"):
            return None
        request = _sdk().kernel_types.ApiGetAcceleratorQuotaStatisticsRequest()
        try:
            return self._read(
                "the quota",
                _kernels("get_accelerator_quota_statistics", request),
                lambda answer, _raw: answers.quota_of(answer, accelerator),
            )
        except Absent:
            return None

    # --- kernels ------------------------------------------------------------

    def find_kernel(self, slug: str) -> KernelFound | None:
        request = questions.kernel(_sdk(), self._account.username, slug)
        try:
            return self._read(f"kernel {slug}", _kernels("get_kernel", request), answers.kernel_found)
        except Absent:
            self._account.check()  # refused credentials must not look like a free name
            return None

    def list_kernels(self, prefix: str) -> tuple[str, ...]:
        def page(token: str | None) -> tuple[tuple[str, ...], str | None]:
            ask = _kernels("list_kernels", questions.own_kernels(_sdk(), token))
            return self._read("the list of kernels", ask, answers.kernel_slugs)

        return _beginning(prefix, _all_pages(page))

    def recent_kernels(self) -> tuple[KernelListed, ...]:
        ask = _kernels("list_kernels", questions.recent_kernels(_sdk()))
        return self._read("the list of kernels", ask, answers.kernels_listed)

    def push(self, kernel: KernelPush) -> KernelPushed:
        questions.check_kernel(kernel)
        owner = self._account.username
        request = questions.push(_sdk(), owner, kernel)
        what = f"push of {kernel.slug}"
        try:
            answer, _ = self._call(_kernels("save_kernel", request))
        except CallFailed as error:
            if isinstance(error, Answered) and 400 <= error.status < 500 and error.status not in (401, 408, 429):
                raise answers.push_refused(str(error), kernel.slug) from error
            raise as_change(error, what) from error
        return answers.kernel_pushed(answer, kernel, owner)

    def session(self, slug: str, version: int | None) -> SessionSeen:
        request = questions.session(_sdk(), self._account.username, slug, version)

        def look() -> SessionSeen:
            try:
                return answers.session_seen(*self._call(_kernels("get_kernel_session_status", request)))
            except Nonsense as error:
                return SessionSeen(worker=Worker.UNKNOWN, message=str(error))
            except CallFailed as error:
                raise as_read(error, f"session {slug}") from error

        try:
            return self._patience(look)
        except Refused as error:
            return SessionSeen(worker=Worker.UNKNOWN, message=str(error))

    def log(self, slug: str, version: int | None) -> tuple[LogLine, ...]:
        shown = read_now(self._log_stream(slug, version), self._limits, self._redact)
        return self._stored_log(slug, version) if shown is None else shown

    def follow_log(self, slug: str, version: int | None, seen: int = 0) -> Iterator[LogLine]:
        follower = Follower(
            open_=self._log_stream(slug, version),
            limits=self._limits,
            redact=self._redact,
            patience=self._patience,
            session=lambda: self.session(slug, version).worker,
            whole=lambda: self._stored_log(slug, version),
        )
        return follower.lines(seen)

    def output(self, slug: str, version: int | None) -> tuple[OutputFile, ...]:
        owner = self._account.username

        def page(token: str | None) -> tuple[tuple[OutputFile, ...], str | None]:
            request = questions.output(_sdk(), owner, slug, version, token)
            ask = _kernels("list_kernel_session_output", request)
            return self._read(f"the output of {slug}", ask, answers.output_page)

        return _all_pages(page)

    def download(self, file: OutputFile, into: Path, wanted: FileWanted) -> Downloaded:
        if file.refused:
            raise Corrupt(file.refused)
        # Without credentials, as Kaggle's own client does it: the address itself is the permission.
        return fetch(opener(file.url, self._limits, self._redact), into, wanted, self._patience, self._redact)

    # --- what others made -----------------------------------------------------

    def see_model(self, ref: str) -> SourceSeen:
        return self._sources.model(ref)

    def see_dataset(self, ref: str) -> SourceSeen:
        return self._sources.dataset(ref)

    # --- datasets -----------------------------------------------------------

    def find_dataset(self, slug: str) -> DatasetSeen | None:
        try:
            found = self._read(
                f"dataset {slug}", self._about("ApiGetDatasetRequest", "get_dataset", slug), answers.dataset
            )
        except Absent:
            self._account.check()
            return None
        status = self._read(
            f"the status of dataset {slug}",
            self._about("ApiGetDatasetStatusRequest", "get_dataset_status", slug),
            answers.dataset_status,
        )
        self._half_sent(slug).forget()  # it is there, whether or not we heard so when it was made
        files = self._dataset_files(slug, found.current_version_number or None) if status == "ready" else ()
        return answers.dataset_seen(found, status, files)

    def list_datasets(self, prefix: str) -> tuple[str, ...]:
        def page(token: str | None) -> tuple[tuple[str, ...], str | None]:
            ask = _datasets("list_datasets", questions.own_datasets(_sdk(), token))
            return self._read("the list of datasets", ask, answers.dataset_slugs)

        return _beginning(prefix, _all_pages(page))

    def create_dataset(self, slug: str, files: Sequence[Path], sha256: Mapping[str, str] | None = None) -> None:
        questions.check_name("dataset", slug, questions.DATASET_CHARACTERS_MIN)
        owner = self._account.username
        half_sent = self._half_sent(slug, sha256 or {})
        tokens = [self._upload(path, half_sent) for path in files]
        try:
            self._create_dataset(slug, questions.new_dataset(_sdk(), owner, slug, tokens), owner)
        except Refused:
            half_sent.forget()  # it may be the blobs that Kaggle does not take
            raise
        half_sent.forget()

    def _create_dataset(self, slug: str, request: Any, owner: str) -> None:
        try:
            answer, _ = self._call(_datasets("create_dataset", request))
        except CallFailed as error:
            raise as_change(error, f"creation of dataset {slug}") from error
        answers.dataset_created(answer, slug, owner)

    def _half_sent(self, slug: str, sha256: Mapping[str, str] = MappingProxyType({})) -> HalfSent:
        return HalfSent(None if self._uploads is None else self._uploads / slug, sha256)

    def download_dataset_file(self, slug: str, name: str, into: Path, wanted: FileWanted) -> Downloaded:
        request = questions.dataset(_sdk(), "ApiDownloadDatasetRequest", self._account.username, slug, file_name=name)
        method = "datasets.DatasetApiService/DownloadDataset"

        def open_(headers: Mapping[str, str]) -> AbstractContextManager[requests.Response]:
            return self._door.redirected(method, request, headers, self._account.authorization)

        return fetch(open_, into, wanted, self._patience, self._redact)

    def delete_dataset(self, slug: str) -> None:
        ask = self._about("ApiDeleteDatasetRequest", "delete_dataset", slug)
        try:
            answer = self._read(f"deletion of dataset {slug}", ask, lambda answer, _raw: answer)
        except Absent:
            # 403 is Kaggle's answer for what does not exist, and for what one may not delete.
            if self.find_dataset(slug) is not None:
                raise
            return
        if answer.error and self.find_dataset(slug) is not None:
            raise Refused(f"Kaggle declined to delete the dataset {slug}: {answer.error}")

    # --- underneath ---------------------------------------------------------

    def _redact(self, text: str) -> str:
        return self._account.redact(text)

    def _call(self, ask: Ask) -> Answer:
        """One call, tried once; a second time only where a login's token had run out, which a 401 says nothing happened of."""
        try:
            return self._door.call(ask, self._account.authorization)
        except Answered as error:
            if error.status != 401:
                raise
            if not self._account.renewed():
                raise self._account.refused(str(error)) from error
        return self._door.call(ask, self._account.authorization)

    def _read(self, what: str, ask: Ask, understand: Callable[[Any, Mapping[str, Any]], T]) -> T:
        return self._patience(lambda: self._read_once(what, ask, understand))

    def _read_once(self, what: str, ask: Ask, understand: Callable[[Any, Mapping[str, Any]], T]) -> T:
        try:
            return understand(*self._call(ask))
        except CallFailed as error:
            raise as_read(error, what) from error

    def _about(self, request_type: str, method: str, slug: str, **fields: Any) -> Ask:
        request = questions.dataset(_sdk(), request_type, self._account.username, slug, **fields)
        return _datasets(method, request)

    def _dataset_files(self, slug: str, version: int | None) -> tuple[DatasetFile, ...]:
        fields = {"dataset_version_number": version, "page_size": questions.PAGE_SIZE}

        def page(token: str | None) -> tuple[tuple[DatasetFile, ...], str | None]:
            ask = self._about("ApiListDatasetFilesRequest", "list_dataset_files", slug, **fields, page_token=token)
            return self._read(f"the files of dataset {slug}", ask, answers.dataset_page)

        try:
            return _all_pages(page)
        except Absent:
            return ()  # Kaggle has not unpacked it yet

    def _upload(self, path: Path, half_sent: HalfSent) -> str:
        def start() -> Slot:
            about = path.stat()
            request = questions.blob(_sdk(), path.name, about.st_size, int(about.st_mtime))
            return self._read_once(
                f"start of the upload of {path.name}",
                lambda http: _sdk().blobs.BlobApiClient(http).start_blob_upload(request),
                answers.slot,
            )

        return upload(path, start, self._limits, self._patience, self._redact, half_sent)

    def _log_stream(self, slug: str, version: int | None) -> OpenLog:
        path = f"kernels/logs/stream/{quote(self._account.username)}/{quote(slug)}"
        label = questions.version_label(version)
        query = "" if label is None else f"?versionLabel={label}"
        return lambda read_s: self._door.stream(path + query, read_s, self._account.authorization)

    def _stored_log(self, slug: str, version: int | None) -> tuple[LogLine, ...]:
        request = questions.output(_sdk(), self._account.username, slug, version, None)
        try:
            text = self._read(
                f"the log of {slug}",
                _kernels("list_kernel_session_output", request),
                lambda answer, _raw: answer.log or "",
            )
        except Absent:
            return ()
        return tuple(lines_of_log([text]))


def connect(
    environ: Mapping[str, str],
    home: Path,
    *,
    sleep: Callable[[float], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    limits: Limits | None = None,
    uploads: Path | None = None,
) -> KaggleGateway:
    """The account of this user, on Kaggle or on the server that RELAY_KAGGLE_URL names.

    Calls nobody yet; raises BadInput where credentials are missing or cannot be read. `sleep` waits between attempts: a
    daemon hands over its clock's, so that it can be woken, and `stopping`, which ends the attempts. In the folder `uploads` it
    is noted what was begun to be sent, for the next process to go on with.
    """
    url = server_url(environ)
    found = find_credentials(environ, home)
    sleep = sleep or SystemClock().sleep
    return KaggleGateway(found, url, sleep=sleep, stopping=stopping, limits=limits, uploads=uploads)


def _kernels(method: str, request: Any) -> Ask:
    return lambda http: getattr(_sdk().kernels.KernelsApiClient(http), method)(request)


def _datasets(method: str, request: Any) -> Ask:
    return lambda http: getattr(_sdk().datasets.DatasetApiClient(http), method)(request)


def _beginning(prefix: str, slugs: Sequence[str]) -> tuple[str, ...]:
    """Chosen here and not by Kaggle's search, of which nobody knows what it leaves out."""
    return tuple(sorted({slug for slug in slugs if slug.startswith(prefix)}))


def _all_pages(page: Callable[[str | None], tuple[tuple[T, ...], str | None]]) -> tuple[T, ...]:
    found: list[T] = []
    token: str | None = None
    seen: set[str | None] = set()
    while token not in seen:
        seen.add(token)
        items, token = page(token)
        found += items
        if token is None:
            return tuple(found)
    raise Transient("Kaggle's listing leads back to a page that was already read")
