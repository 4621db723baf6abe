"""Who we are on Kaggle: the first credentials that Kaggle accepts, renewed when a login's short-lived token runs out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from orchestrator.base.errors import BadInput
from orchestrator.kaggle.credentials import REMEDY, Credentials, Method


class SignIn(Protocol):
    """What Kaggle can tell about credentials. Every call may raise Transient."""

    def name_of(self, token: str) -> str | None:
        """The user whose access token this is, or None where it is not valid."""

    def renew(self, refresh_token: str) -> tuple[str, str] | None:
        """A new access token and its user, or None where the login has ended."""

    def accepts(self, authorization: str) -> bool:
        """Whether Kaggle lets these credentials in at all."""


class SignedIn:
    """The credentials in use. A token that Kaggle does not know gives way to the next credentials, as in its own client."""

    def __init__(self, candidates: Sequence[Credentials], sign_in: SignIn) -> None:
        self._candidates = tuple(candidates)
        self._sign_in = sign_in
        self._chosen: Credentials | None = None
        self._seen: list[Credentials] = list(candidates)
        self._accepted = False

    def redact(self, text: str) -> str:
        """The text without any secret that this account ever had."""
        for credentials in self._seen:
            text = credentials.redact(text)
        return text

    @property
    def username(self) -> str:
        """Raises BadInput where no credentials are accepted."""
        return self._credentials().username or ""

    @property
    def authorization(self) -> str:
        """The header's value for a call."""
        return self._credentials().authorization

    def check(self) -> None:
        """Raise BadInput unless Kaggle lets us in now."""
        credentials = self._credentials()
        match credentials.method:
            case Method.TOKEN:
                good = self._sign_in.name_of(credentials.secret) is not None
            case Method.LOGIN:
                good = self._sign_in.accepts(credentials.authorization) or self.renewed()
            case Method.KEY:
                good = self._sign_in.accepts(credentials.authorization)
        if not good:
            raise self.refused("they are not valid any more")

    def check_once(self) -> None:
        """As `check`, and remembered."""
        if not self._accepted:
            self.check()
            self._accepted = True

    def renewed(self) -> bool:
        """Whether a login got a new token: worth repeating a call that was answered 401."""
        credentials = self._credentials()
        if credentials.method is not Method.LOGIN:
            return False
        fresh = self._sign_in.renew(credentials.refresh_token)
        if fresh is None:
            return False
        self._choose(replace(credentials, secret=fresh[0], username=fresh[1] or credentials.username))
        return True

    def refused(self, reason: str) -> BadInput:
        """The error for credentials that Kaggle does not accept."""
        sources = [self._chosen] if self._chosen else self._candidates
        where = " and ".join(credentials.source for credentials in sources)
        return BadInput(f"Kaggle does not accept the credentials from {where} ({reason}): {REMEDY}.")

    def _credentials(self) -> Credentials:
        if self._chosen is None:
            self._choose(self._first_accepted())
        assert self._chosen is not None
        return self._chosen

    def _choose(self, credentials: Credentials) -> None:
        self._chosen = credentials
        self._seen.append(credentials)

    def _first_accepted(self) -> Credentials:
        for credentials in self._candidates:
            if (usable := _READY[credentials.method](credentials, self._sign_in)) is not None:
                self._accepted = credentials.method is Method.TOKEN  # Kaggle has just told whose it is
                return usable
        raise self.refused("no user has them")


def _token(credentials: Credentials, sign_in: SignIn) -> Credentials | None:
    name = sign_in.name_of(credentials.secret)
    return replace(credentials, username=name) if name else None


def _key(credentials: Credentials, _sign_in: SignIn) -> Credentials | None:
    return credentials


def _login(credentials: Credentials, sign_in: SignIn) -> Credentials | None:
    if credentials.secret and credentials.username:
        return credentials  # an expired token shows as a 401, and is renewed then
    fresh = sign_in.renew(credentials.refresh_token)
    return replace(credentials, secret=fresh[0], username=fresh[1] or credentials.username) if fresh else None


_READY: dict[Method, Callable[[Credentials, SignIn], Credentials | None]] = {
    Method.TOKEN: _token,
    Method.KEY: _key,
    Method.LOGIN: _login,
}
