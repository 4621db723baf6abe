"""`KaggleGateway`: implements the `Gateway` port with kagglesdk, Kaggle's own client library.

The only module that imports kagglesdk, and it does so on the first call. It never imports `kaggle`, whose import
prints, calls the network and may end the process. Requests are kagglesdk's types, so the bytes on the wire are those
that Kaggle's own client sends. The HTTP session is relay's, because kagglesdk's has no timeouts, prefers a stale token
to credentials that were given explicitly, and hides the server's reason.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar
from urllib.parse import quote

from orchestrator.base.clock import SystemClock
from orchestrator.base.errors import Corrupt, Refused
from orchestrator.kaggle import request_bodies, responses
from orchestrator.kaggle.account import SignedIn
from orchestrator.kaggle.credentials import Credentials, find_credentials
from orchestrator.kaggle.datasets import UPLOADS_AT_ONCE_MAX, DatasetApi
from orchestrator.kaggle.endpoint import limits_for, server_url
from orchestrator.kaggle.gateway import SourceSeen
from orchestrator.kaggle.logs import lines_of_log
from orchestrator.kaggle.model_gateway import ModelGateway
from orchestrator.kaggle.models import ModelApi
from orchestrator.kaggle.refusals import cannot_stop
from orchestrator.kaggle.retry import RetryPolicy
from orchestrator.kaggle.rpc import KaggleSignIn, RpcClient
from orchestrator.kaggle.session import AuthenticatedRpc, all_pages, with_prefix
from orchestrator.kaggle.sources import InputSources
from orchestrator.kaggle.streams import Follower, OpenLog, read_now
from orchestrator.kaggle.transfer import fetch, opener
from orchestrator.kaggle.transport import (
    CallFailed,
    HttpStatus,
    InvalidResponse,
    NotFound,
    TransportLimits,
    as_change,
    as_read,
)
from orchestrator.platforms.names import KAGGLE
from orchestrator.platforms.port import (
    DatasetSeen,
    Downloaded,
    FileWanted,
    KernelFound,
    KernelPush,
    KernelPushed,
    KernelsPage,
    LogLine,
    OutputFile,
    Quota,
    Reached,
    SessionSeen,
    Worker,
    ignore_progress,
)

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
        from kagglesdk.models.types.model_enums import ModelFramework, ModelInstanceType
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
        ModelInstanceType=ModelInstanceType,
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
        limits: TransportLimits | None = None,
        uploads: Path | None = None,
    ) -> None:
        self.warnings = tuple(dict.fromkeys(text for one in credentials for text in one.warnings))
        """Warnings for the user about how the credentials are stored."""
        self._limits = limits or limits_for(url)
        self._retry = RetryPolicy(
            sleep=sleep,
            stopping=stopping,
            wait_first_s=self._limits.retry_s,
            attempts_max=self._limits.attempts_max,
        )
        self._rpc = RpcClient(_sdk, url, self._limits, lambda text: self._account.redact(text))
        self._account = SignedIn(credentials, KaggleSignIn(self._rpc, _sdk, self._retry))
        self._calls = AuthenticatedRpc(_sdk, self._rpc, self._account, self._retry)
        self._sources = InputSources(self._calls)
        self._datasets = DatasetApi(self._calls, self._limits, uploads)
        self.own_models: ModelGateway = ModelApi(self._calls, self._limits, uploads)
        """The account's own models."""

    @property
    def label(self) -> str:
        return KAGGLE

    @property
    def abreast_max(self) -> int:
        return UPLOADS_AT_ONCE_MAX

    @property
    def can_stop(self) -> bool:
        return False

    # --- account ------------------------------------------------------------

    def owner(self) -> str:
        self._account.check_once()
        return self._account.username

    def quota(self, accelerator: str) -> Quota | None:
        if accelerator not in ("tpu", "gpu"):
            return None
        request = _sdk().kernel_types.ApiGetAcceleratorQuotaStatisticsRequest()
        try:
            return self._calls.read(
                "the quota",
                self._calls.kernels("get_accelerator_quota_statistics", request),
                lambda answer, _raw: responses.quota_of(answer, accelerator),
            )
        except NotFound:
            return None

    # --- kernels ------------------------------------------------------------

    def find_kernel(self, slug: str) -> KernelFound | None:
        request = request_bodies.kernel(_sdk(), self._account.username, slug)
        try:
            return self._calls.read(
                f"kernel {slug}", self._calls.kernels("get_kernel", request), responses.kernel_found
            )
        except NotFound:
            self._account.check()  # rejected credentials also give 403, which must not read as "no such kernel"
            return None

    def list_kernels(self, prefix: str) -> tuple[str, ...]:
        def page(token: str | None) -> tuple[tuple[str, ...], str | None]:
            ask = self._calls.kernels("list_kernels", request_bodies.own_kernels(_sdk(), token))
            return self._calls.read("the list of kernels", ask, responses.kernel_slugs)

        return with_prefix(prefix, all_pages(page))

    def recent_kernels(self, page: str | None = None) -> KernelsPage:
        ask = self._calls.kernels("list_kernels", request_bodies.recent_kernels(_sdk(), page))
        return self._calls.read("the list of kernels", ask, responses.kernels_listed)

    def push(self, kernel: KernelPush) -> KernelPushed:
        request_bodies.check_kernel(kernel)
        owner = self._account.username
        request = request_bodies.push(_sdk(), owner, kernel)
        what = f"push of {kernel.slug}"
        try:
            answer, _ = self._calls.call(self._calls.kernels("save_kernel", request))
        except CallFailed as error:
            if isinstance(error, HttpStatus) and 400 <= error.status < 500 and error.status not in (401, 408, 429):
                raise responses.push_refused(str(error), kernel.slug) from error
            raise as_change(error, what) from error
        try:
            return self._calls.parsed((answer, {}), lambda found, _raw: responses.kernel_pushed(found, kernel, owner))
        except InvalidResponse as error:
            raise as_change(error, what) from error

    def stop(self, slug: str, version: int | None) -> None:
        raise cannot_stop(slug)

    def session(self, slug: str, version: int | None) -> SessionSeen:
        request = request_bodies.session(_sdk(), self._account.username, slug, version)

        def look() -> SessionSeen:
            try:
                ask = self._calls.kernels("get_kernel_session_status", request)
                return self._calls.parsed(self._calls.call(ask), responses.session_seen)
            except InvalidResponse as error:
                return SessionSeen(worker=Worker.UNKNOWN, message=str(error))
            except CallFailed as error:
                raise as_read(error, f"session {slug}") from error

        try:
            return self._retry(look)
        except Refused as error:
            return SessionSeen(worker=Worker.UNKNOWN, message=str(error))

    def log(self, slug: str, version: int | None) -> Iterator[LogLine]:
        if not (yield from read_now(self._log_stream(slug, version), self._limits, self._account.redact)):
            yield from self._stored_log(slug, version)

    def follow_log(self, slug: str, version: int | None, seen: int = 0) -> Iterator[LogLine]:
        follower = Follower(
            open_=self._log_stream(slug, version),
            limits=self._limits,
            redact=self._account.redact,
            retries=self._retry,
            session=lambda: self.session(slug, version).worker,
            whole=lambda: self._stored_log(slug, version),
        )
        return follower.lines(seen)

    def output(self, slug: str, version: int | None) -> tuple[OutputFile, ...]:
        owner = self._account.username

        def page(token: str | None) -> tuple[tuple[OutputFile, ...], str | None]:
            request = request_bodies.output(_sdk(), owner, slug, version, token)
            ask = self._calls.kernels("list_kernel_session_output", request)
            return self._calls.read(f"the output of {slug}", ask, responses.output_page)

        return all_pages(page)

    def download(self, file: OutputFile, into: Path, wanted: FileWanted) -> Downloaded:
        if file.refused:
            raise Corrupt(file.refused)
        # Without credentials, as in Kaggle's own client: the URL is signed.
        return fetch(
            opener(file.url, self._limits, self._account.redact), into, wanted, self._retry, self._account.redact
        )

    # --- models and datasets of any owner --------------------------------------

    def see_model(self, ref: str) -> SourceSeen:
        return self._sources.model(ref)

    def download_model(self, ref: str, into: Path) -> None:
        self._sources.download_model(ref, into)

    def see_dataset(self, ref: str) -> SourceSeen:
        return self._sources.dataset(ref)

    # --- datasets -----------------------------------------------------------

    def find_dataset(self, slug: str) -> DatasetSeen | None:
        return self._datasets.find(slug)

    def list_datasets(self, prefix: str) -> tuple[str, ...]:
        return self._datasets.own(prefix)

    def send_ahead(self, slug: str, file: Path, sha256: str) -> None:
        self._datasets.send_ahead(slug, file, sha256)

    def create_dataset(
        self,
        slug: str,
        files: Sequence[Path],
        sha256: Mapping[str, str] | None = None,
        description: str = "",
        reached: Reached = ignore_progress,
    ) -> None:
        self._datasets.create(slug, files, sha256, description, reached)

    def add_dataset_version(self, slug: str, files: Sequence[Path], notes: str) -> None:
        self._datasets.add_version(slug, files, notes)

    def download_dataset_file(self, slug: str, name: str, into: Path, wanted: FileWanted) -> Downloaded:
        return self._datasets.download(slug, name, into, wanted)

    def delete_dataset(self, slug: str) -> None:
        self._datasets.delete(slug)

    # --- private helpers ----------------------------------------------------

    def _log_stream(self, slug: str, version: int | None) -> OpenLog:
        path = f"kernels/logs/stream/{quote(self._account.username)}/{quote(slug)}"
        label = request_bodies.version_label(version)
        query = "" if label is None else f"?versionLabel={label}"
        return lambda read_s: self._rpc.stream(path + query, read_s, self._account.authorization)

    def _stored_log(self, slug: str, version: int | None) -> Iterator[LogLine]:
        request = request_bodies.output(_sdk(), self._account.username, slug, version, None)
        try:
            with self._calls.log(request) as texts:
                yield from lines_of_log(texts, self._account.redact)
        except NotFound:
            return
        except CallFailed as error:
            raise as_read(error, f"the log of {slug}") from error


def connect(
    environ: Mapping[str, str],
    home: Path,
    *,
    sleep: Callable[[float], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    limits: TransportLimits | None = None,
    uploads: Path | None = None,
) -> KaggleGateway:
    """Return a gateway for the user's account, on Kaggle or on the server that RELAY_KAGGLE_URL names.

    Makes no call yet. Raises BadInput if credentials are missing or cannot be read. `sleep` waits between attempts; a
    daemon passes its clock's sleep, which can be woken, and `stopping`, which ends the retries. `uploads` is the
    folder of the upload journal, from which the next process resumes interrupted uploads; None keeps no journal.
    """
    url = server_url(environ)
    found = find_credentials(environ, home)
    sleep = sleep or SystemClock().sleep
    return KaggleGateway(found, url, sleep=sleep, stopping=stopping, limits=limits, uploads=uploads)
