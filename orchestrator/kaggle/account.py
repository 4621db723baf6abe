"""Sign-in: uses the first credentials that Kaggle accepts and renews the short-lived token of a `kaggle auth login`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from orchestrator.base.errors import BadInput
from orchestrator.kaggle.credentials import REMEDY, Credentials, Method


class SignIn(Protocol):
    """Kaggle's checks of credentials. Every call may raise Transient."""

    def name_of(self, token: str) -> str | None:
        """Return the user name that owns this access token, or None if the token is not valid."""

    def renew(self, refresh_token: str) -> tuple[str, str] | None:
        """Return a new access token and its user name, or None if the login has ended."""

    def accepts(self, authorization: str) -> bool:
        """Return whether Kaggle accepts these credentials."""


class SignedIn:
    """The credentials in use. As in Kaggle's client, an unknown token falls back to the next credentials."""

    def __init__(self, candidates: Sequence[Credentials], sign_in: SignIn) -> None:
        self._candidates = tuple(candidates)
        self._sign_in = sign_in
        self._chosen: Credentials | None = None
        self._seen: list[Credentials] = list(candidates)
        self._accepted = False

    def redact(self, text: str) -> str:
        """Return the text with every secret that this account has used replaced."""
        for credentials in self._seen:
            text = credentials.redact(text)
        return text

    @property
    def username(self) -> str:
        """The account's user name. Raises BadInput if Kaggle accepts no credentials."""
        return self._credentials().username or ""

    @property
    def authorization(self) -> str:
        """Value of the Authorization header."""
        return self._credentials().authorization

    def check(self) -> None:
        """Raise BadInput unless Kaggle accepts the credentials now."""
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
        """Do the same as `check`, and skip it after the first success."""
        if not self._accepted:
            self.check()
            self._accepted = True

    def renewed(self) -> bool:
        """Renew a login's token; True if a call that got a 401 is worth repeating."""
        credentials = self._credentials()
        if credentials.method is not Method.LOGIN:
            return False
        fresh = self._sign_in.renew(credentials.refresh_token)
        if fresh is None:
            return False
        self._choose(replace(credentials, secret=fresh[0], username=fresh[1] or credentials.username))
        return True

    def refused(self, reason: str) -> BadInput:
        """Return the error for credentials that Kaggle does not accept."""
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
                self._accepted = credentials.method is Method.TOKEN  # name_of has just verified it
                return usable
        raise self.refused("no user has them")


def _token(credentials: Credentials, sign_in: SignIn) -> Credentials | None:
    name = sign_in.name_of(credentials.secret)
    return replace(credentials, username=name) if name else None


def _key(credentials: Credentials, _sign_in: SignIn) -> Credentials | None:
    return credentials


def _login(credentials: Credentials, sign_in: SignIn) -> Credentials | None:
    if credentials.secret and credentials.username:
        return credentials  # an expired token gives a 401, and is then renewed
    fresh = sign_in.renew(credentials.refresh_token)
    return replace(credentials, secret=fresh[0], username=fresh[1] or credentials.username) if fresh else None


_READY: dict[Method, Callable[[Credentials, SignIn], Credentials | None]] = {
    Method.TOKEN: _token,
    Method.KEY: _key,
    Method.LOGIN: _login,
}
