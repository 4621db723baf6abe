"""Calls of one account: signed in, asked again where that is safe, understood, and told by remedy where they fail."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

import requests

from orchestrator.base.errors import Transient
from orchestrator.kaggle.account import SignedIn
from orchestrator.kaggle.retry import RetryPolicy
from orchestrator.kaggle.rpc import Answer, Ask, RpcClient
from orchestrator.kaggle.transport import UNREADABLE, CallFailed, HttpStatus, as_read, unreadable

T = TypeVar("T")


class AuthenticatedRpc:
    """What every part of the client asks Kaggle with. Safe to use from several threads."""

    def __init__(
        self, sdk: Callable[[], SimpleNamespace], door: RpcClient, account: SignedIn, patience: RetryPolicy
    ) -> None:
        self._sdk = sdk
        self._door = door
        self.account = account
        self.patience = patience

    @property
    def sdk(self) -> SimpleNamespace:
        """Kaggle's own types and services."""
        return self._sdk()

    def redact(self, text: str) -> str:
        """The text without the account's secrets."""
        return self.account.redact(text)

    def call(self, ask: Ask) -> Answer:
        """One call, tried once; a second time only where a login's token had run out, which a 401 says nothing happened of."""
        try:
            return self._door.call(ask, self.account.authorization)
        except HttpStatus as error:
            if error.status != 401:
                raise
            if not self.account.renewed():
                raise self.account.refused(str(error)) from error
        return self._door.call(ask, self.account.authorization)

    def read(self, what: str, ask: Ask, understand: Callable[[Any, Mapping[str, Any]], T]) -> T:
        """A question that changes nothing, asked as often as patience allows; `Absent` for 403 and 404."""
        return self.patience(lambda: self.read_once(what, ask, understand))

    def read_once(self, what: str, ask: Ask, understand: Callable[[Any, Mapping[str, Any]], T]) -> T:
        """The same, asked once."""
        try:
            return self.understood(self.call(ask), understand)
        except CallFailed as error:
            raise as_read(error, what) from error

    def understood(self, answer: Answer, understand: Callable[[Any, Mapping[str, Any]], T]) -> T:
        """What an answer means; Nonsense where `understand` cannot make sense of it."""
        try:
            return understand(*answer)
        except UNREADABLE as error:
            raise unreadable(error, self.redact) from error

    @contextmanager
    def log(self, request: Any) -> Iterator[Iterator[str]]:
        """The text of a stored log, in pieces; opened as often as patience allows. Raises CallFailed and what `read` does."""
        with ExitStack() as stack:
            yield self.patience(lambda: self._opened(stack, request))

    def _opened(self, stack: ExitStack, request: Any) -> Iterator[str]:
        try:
            try:
                return stack.enter_context(self._door.log(request, self.account.authorization))
            except HttpStatus as error:
                if error.status != 401 or not self.account.renewed():
                    raise
            return stack.enter_context(self._door.log(request, self.account.authorization))
        except CallFailed as error:
            raise as_read(error, "the log") from error

    def redirected(
        self, method: str, request: Any, headers: Mapping[str, str]
    ) -> AbstractContextManager[requests.Response]:
        """The file behind a call that answers with its address."""
        return self._door.redirected(method, request, headers, self.account.authorization)

    def kernels(self, method: str, request: Any) -> Ask:
        """A call of the service for kernels."""
        return lambda http: getattr(self.sdk.kernels.KernelsApiClient(http), method)(request)

    def datasets(self, method: str, request: Any) -> Ask:
        """A call of the service for datasets."""
        return lambda http: getattr(self.sdk.datasets.DatasetApiClient(http), method)(request)

    def models(self, method: str, request: Any) -> Ask:
        """A call of the service for models."""
        return lambda http: getattr(self.sdk.models.ModelApiClient(http), method)(request)


PAGES_MAX = 1000
ITEMS_MAX = 200_000
"""Of one listing: as many as that many pages of Kaggle's largest size hold."""


def all_pages(page: Callable[[str | None], tuple[tuple[T, ...], str | None]]) -> tuple[T, ...]:
    """A whole listing; `page` gives the items at a token, and the next token. Raises Transient where it goes round or has no end."""
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


def beginning(prefix: str, slugs: tuple[str, ...]) -> tuple[str, ...]:
    """Chosen here and not by Kaggle's search, of which nobody knows what it leaves out."""
    return tuple(sorted({slug for slug in slugs if slug.startswith(prefix)}))
