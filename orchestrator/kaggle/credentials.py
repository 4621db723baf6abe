"""Finds Kaggle credentials wherever Kaggle's own client looks, in the same order, and redacts them from text.

1. access token: `KAGGLE_API_V1_TOKEN` (a file; inside a Kaggle notebook only), `KAGGLE_API_TOKEN` (the token or a
path),
   `~/.kaggle/access_token`, `~/.kaggle/access_token.txt`
2. user name and key: `kaggle.json` in `KAGGLE_CONFIG_DIR`, else `~/.kaggle`, else the XDG configuration directory; the
   variables `KAGGLE_USERNAME` and `KAGGLE_KEY` override the file
3. `kaggle auth login`: `~/.kaggle/credentials.json`

As in Kaggle's client, an expired token does not hide valid credentials further down the list, so all are returned.
"""

import base64
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from orchestrator.base.errors import BadInput

REMEDY = "create a token at https://www.kaggle.com/settings (API section) and save it as ~/.kaggle/access_token"

HIDDEN = "***"


class Method(StrEnum):
    """Sign-in method of an account."""

    TOKEN = "access token"
    KEY = "user name and key"
    LOGIN = "kaggle auth login"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Way to sign in. `username` is None for an access token: Kaggle returns its owner."""

    method: Method
    source: str
    """Variable or file that the credentials come from, for messages."""
    username: str | None = None
    secret: str = field(repr=False)
    """Token or key; for a login the last access token, which may be empty or expired."""
    refresh_token: str = field(default="", repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def authorization(self) -> str:
        """Value of the Authorization header."""
        if self.method is Method.KEY:
            return f"Basic {_basic(self.username or '', self.secret)}"
        return f"Bearer {self.secret}"

    def redact(self, text: str) -> str:
        """Return the text with every form of the secrets replaced."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    @cached_property
    def _forms(self) -> tuple[str, ...]:
        """Written forms of the secrets, longest first. Cached, because every line of every log is searched for them."""
        forms = {self.secret, self.refresh_token, _basic(self.username or "", self.secret) if self.secret else ""}
        forms |= {json.dumps(form)[1:-1] for form in forms}
        forms |= {quote(form, safe="") for form in forms} | {quote_plus(form) for form in forms}
        return tuple(sorted(forms - {""}, key=len, reverse=True))


def find_credentials(environ: Mapping[str, str], home: Path) -> tuple[Credentials, ...]:
    """Return all credentials of this user, in the order in which to try them.

    Raises BadInput if there are none, or if the only ones cannot be read; a broken file beside good credentials
    becomes one of their warnings.
    """
    found: list[Credentials] = []
    problems: list[str] = []
    for look in (_access_token, _legacy_key, _login):
        try:
            found += look(environ, home)
        except BadInput as problem:
            problems.append(str(problem))
    if not found:
        raise BadInput(problems[0] if problems else f"No Kaggle credentials were found: {REMEDY}.")
    return tuple(_warned(one, problems) for one in found)


def _warned(credentials: Credentials, problems: list[str]) -> Credentials:
    if not problems:
        return credentials
    return replace(credentials, warnings=(*credentials.warnings, *problems))


# --- access tokens ----------------------------------------------------------


def _access_token(environ: Mapping[str, str], home: Path) -> Iterator[Credentials]:
    # Kaggle's client uses the first token that exists.
    for source, path, literal in _token_places(environ, home):
        token = literal or (_text(path).strip() if path is not None and _is_file(path) else "")
        if token:
            warnings = _readable_by_others(path) if path is not None else ()
            yield Credentials(method=Method.TOKEN, source=source, secret=_header_safe(token, source), warnings=warnings)
            return


def _token_places(environ: Mapping[str, str], home: Path) -> Iterator[tuple[str, Path | None, str]]:
    notebook = "KAGGLE_KERNEL_RUN_TYPE" in environ and "KAGGLE_DATA_PROXY_URL" in environ
    if notebook and (file := environ.get("KAGGLE_API_V1_TOKEN")):
        yield "KAGGLE_API_V1_TOKEN", Path(file), ""
    if value := environ.get("KAGGLE_API_TOKEN", "").strip():
        path = Path(value)
        if _is_file(path):
            yield "KAGGLE_API_TOKEN", path, ""
        else:
            yield "KAGGLE_API_TOKEN", None, value
    for name in ("access_token", "access_token.txt"):
        path = home / ".kaggle" / name
        yield str(path), path, ""


# --- user name and key ------------------------------------------------------


def _legacy_key(environ: Mapping[str, str], home: Path) -> Iterator[Credentials]:
    path = _config_directory(environ, home) / "kaggle.json"
    given = {name: environ.get(f"KAGGLE_{name.upper()}", "").strip() for name in ("username", "key")}
    from_environ = {name: value for name, value in given.items() if value}
    if len(from_environ) == 2:
        yield _key(from_environ, "KAGGLE_USERNAME and KAGGLE_KEY", ())
    elif _is_file(path):
        values = {name: value for name, value in _json_object(path).items() if isinstance(value, str) and value.strip()}
        if missing := [name for name in ("username", "key") if name not in {**values, **from_environ}]:
            raise BadInput(f'{path} lacks "{missing[0]}": download the file again at https://www.kaggle.com/settings.')
        yield _key({**values, **from_environ}, str(path), _readable_by_others(path))
    elif from_environ:
        there, lacking = ("USERNAME", "KEY") if "username" in from_environ else ("KEY", "USERNAME")
        raise BadInput(f"KAGGLE_{there} is set and KAGGLE_{lacking} is not: set both, or {REMEDY}.")


def _key(values: Mapping[str, str], source: str, warnings: tuple[str, ...]) -> Credentials:
    return Credentials(
        method=Method.KEY,
        source=source,
        username=_header_safe(values["username"].strip(), source),
        secret=_header_safe(values["key"].strip(), source),
        warnings=warnings,
    )


def _config_directory(environ: Mapping[str, str], home: Path) -> Path:
    if given := environ.get("KAGGLE_CONFIG_DIR"):
        return Path(given)
    usual = home / ".kaggle"
    if sys.platform.startswith("linux") and not usual.exists():
        return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"
    return usual


# --- kaggle auth login ------------------------------------------------------


def _login(_environ: Mapping[str, str], home: Path) -> Iterator[Credentials]:
    path = home / ".kaggle" / "credentials.json"
    if not _is_file(path):
        return
    values = _json_object(path)
    refresh = values.get("refresh_token")
    if not isinstance(refresh, str) or not refresh.strip():
        raise BadInput(f'{path} lacks "refresh_token": type `kaggle auth login --force`, or {REMEDY}.')
    yield Credentials(
        method=Method.LOGIN,
        source=str(path),
        username=str(values.get("username") or "") or None,
        secret=_header_safe(str(values.get("access_token") or "").strip(), str(path)),
        refresh_token=refresh.strip(),
        warnings=_readable_by_others(path),
    )


# --- files ------------------------------------------------------------------


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # the value is a token: too long for a file name, or with a NUL
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read ({_why(error)}): {REMEDY}.") from error


def _why(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not text"


def _json_object(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        value = json.loads(text)
    except ValueError:
        # `from None` on purpose: a JSON error holds the document, and with it the key.
        raise BadInput(f"{path} is not JSON: download it again at https://www.kaggle.com/settings.") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path} is not a JSON object: download it again at https://www.kaggle.com/settings.")
    return value


def _header_safe(value: str, source: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise BadInput(f"The credentials in {source} hold characters that no Kaggle token has: {REMEDY}.")
    return value


def _readable_by_others(path: Path) -> tuple[str, ...]:
    if sys.platform == "win32" or not path.stat().st_mode & 0o044:
        return ()
    return (f"{path} is readable by other users of this machine: type `chmod 600 {path}`.",)


def _basic(username: str, key: str) -> str:
    return base64.b64encode(f"{username}:{key}".encode()).decode()
