"""Authenticated API calls: retries idempotent requests, parses responses, maps failures to RelayError."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

import requests

from orchestrator.base.errors import Transient
from orchestrator.kaggle.account import SignedIn
from orchestrator.kaggle.retry import RetryPolicy
from orchestrator.kaggle.rpc import Answer, Ask, RpcClient
from orchestrator.kaggle.transport import UNREADABLE, CallFailed, HttpStatus, as_read, invalid_response

T = TypeVar("T")


class AuthenticatedRpc:
    """Makes the calls for every part of the client. Safe to use from several threads."""

    def __init__(
        self, sdk: Callable[[], SimpleNamespace], rpc: RpcClient, account: SignedIn, retries: RetryPolicy
    ) -> None:
        self._sdk = sdk
        self._rpc = rpc
        self.account = account
        self.patience = retries

    @property
    def sdk(self) -> SimpleNamespace:
        """kagglesdk's types and services."""
        return self._sdk()

    def redact(self, text: str) -> str:
        """Return the text with the account's secrets replaced."""
        return self.account.redact(text)

    def call(self, ask: Ask) -> Answer:
        """Make one call, without retries.

        Repeats it once if a login's token had expired: a 401 proves that the call had no effect.
        """
        try:
            return self._rpc.call(ask, self.account.authorization)
        except HttpStatus as error:
            if error.status != 401:
                raise
            if not self.account.renewed():
                raise self.account.refused(str(error)) from error
        return self._rpc.call(ask, self.account.authorization)

    def read(self, what: str, ask: Ask, understand: Callable[[Any, Mapping[str, Any]], T]) -> T:
        """Make a call that changes nothing, with retries; raises NotFound for 403 and 404."""
        return self.patience(lambda: self.read_once(what, ask, understand))

    def read_once(self, what: str, ask: Ask, understand: Callable[[Any, Mapping[str, Any]], T]) -> T:
        """Do the same as `read`, without retries."""
        try:
            return self.parsed(self.call(ask), understand)
        except CallFailed as error:
            raise as_read(error, what) from error

    def parsed(self, answer: Answer, understand: Callable[[Any, Mapping[str, Any]], T]) -> T:
        """Parse an answer; raises InvalidResponse if `understand` cannot interpret it."""
        try:
            return understand(*answer)
        except UNREADABLE as error:
            raise invalid_response(error, self.redact) from error

    @contextmanager
    def log(self, request: Any) -> Iterator[Iterator[str]]:
        """Open a stored log, with retries, and yield its text in pieces. Raises CallFailed and the errors of `read`."""
        with ExitStack() as stack:
            yield self.patience(lambda: self._open_log(stack, request))

    def _open_log(self, stack: ExitStack, request: Any) -> Iterator[str]:
        try:
            try:
                return stack.enter_context(self._rpc.log(request, self.account.authorization))
            except HttpStatus as error:
                if error.status != 401 or not self.account.renewed():
                    raise
            return stack.enter_context(self._rpc.log(request, self.account.authorization))
        except CallFailed as error:
            raise as_read(error, "the log") from error

    def redirected(
        self, method: str, request: Any, headers: Mapping[str, str]
    ) -> AbstractContextManager[requests.Response]:
        """Open the file behind a call that answers with its URL."""
        return self._rpc.redirected(method, request, headers, self.account.authorization)

    def kernels(self, method: str, request: Any) -> Ask:
        """Return a call of the kernel service."""
        return lambda http: getattr(self.sdk.kernels.KernelsApiClient(http), method)(request)

    def datasets(self, method: str, request: Any) -> Ask:
        """Return a call of the dataset service."""
        return lambda http: getattr(self.sdk.datasets.DatasetApiClient(http), method)(request)

    def models(self, method: str, request: Any) -> Ask:
        """Return a call of the model service."""
        return lambda http: getattr(self.sdk.models.ModelApiClient(http), method)(request)


PAGES_MAX = 1000
ITEMS_MAX = 200_000
"""Maximum entries of one listing: PAGES_MAX pages of Kaggle's largest page size."""


def all_pages(page: Callable[[str | None], tuple[tuple[T, ...], str | None]]) -> tuple[T, ...]:
    """Return a whole listing; `page` returns the items at a token, and the next token.

    Raises Transient if the pages repeat or do not end.
    """
    found: list[T] = []
    token: str | None = None
    seen: set[str | None] = set()
    while token not in seen:
        seen.add(token)
        items, token = page(token)
        found += items
        if token is None:
            return tuple(found)
        if len(seen) >= PAGES_MAX or len(found) > ITEMS_MAX:
            raise Transient(
                f"Kaggle's listing has no end: it gave {len(found):,} entries on {len(seen):,} pages, and names another page"
            )
    raise Transient("Kaggle's listing leads back to a page that was already read")


def with_prefix(prefix: str, slugs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the slugs with this prefix, sorted.

    Filtered here, because it is unknown what Kaggle's own search omits.
    """
    return tuple(sorted({slug for slug in slugs if slug.startswith(prefix)}))
