"""HTTP session for a single call: bounded in time and size, no proxy for loopback, errors with the server's own message.

CallFailed
├── HttpStatus       an HTTP error status; `status` and the reason that kagglesdk would hide
├── NotSent          nothing reached the server
├── ConnectionLost   the request was sent and no complete answer came back
└── InvalidResponse  a complete answer that cannot be interpreted

Their meaning depends on the call: `as_read` is for a call that changes nothing, `as_change` for one that may have
taken effect.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from orchestrator.base.clock import monotonic_s
from orchestrator.base.errors import Ambiguous, BadInput, RateLimited, Refused, RelayError, Transient, Unreachable
from orchestrator.base.humanize import duration
from orchestrator.kaggle.network_reasons import network_reason
from stages.safe_text import OddJson, read_json, whole_text

Redact = Callable[[str], str]

REASON_CHARACTERS_MAX = 500
HEADER_CHARACTERS_MAX = 100
"""Length limit for a header that holds a number or a date, in characters; a longer one is truncated before parsing."""

UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Exceptions that a library raises for an unexpected answer: an unknown word, an impossible date, a wrong type."""
SEND_BLOCK_BYTES = 2**18
"""Block size for sending a body, in bytes. With urllib3's default of 16 KiB the overhead exceeds the sending itself."""


@dataclass(frozen=True, kw_only=True)
class TransportLimits:
    """Timeouts of one call, in seconds, and the size limit of an answer that is held in memory."""

    connect_s: float = 15.0
    read_s: float = 60.0
    """Read timeout: maximum silence on an open connection."""
    call_s: float = 150.0
    """Deadline of one whole call, even if its answer keeps arriving."""
    quiet_s: float = 2.0
    """Silence after which a live log counts as read to its current end."""
    live_s: float = 20.0
    """Longest reading of a live log that never falls silent."""
    follow_s: float = 300.0
    """Silence after which a followed log is reconnected."""
    retry_s: float = 1.0
    """Delay before the second attempt of a repeatable call; doubles with each further attempt."""
    attempts_max: int = 6
    """Maximum number of attempts of a repeatable call."""
    log_s: float = 1800.0
    """Deadline of a call whose answer holds a stored log."""
    body_bytes_max: int = 64 * 2**20


class CallFailed(Exception):
    """Base class of the failures of one HTTP exchange; the message is redacted."""


class HttpStatus(CallFailed):
    """The server returned an HTTP error status."""

    def __init__(self, status: int, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {reason}" if reason else f"HTTP {status}")
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class NotSent(CallFailed):
    """Nothing reached the server."""


class ConnectionLost(CallFailed):
    """The request was sent and no complete answer came back."""


class InvalidResponse(CallFailed):
    """The answer is complete but cannot be interpreted."""


def invalid_response(error: Exception, redact: Redact) -> InvalidResponse:
    """Return the InvalidResponse for an answer that is JSON but not what the caller expects."""
    return InvalidResponse(
        redact(f"the answer cannot be read ({type(error).__name__}: {error})")[:REASON_CHARACTERS_MAX]
    )


class NotFound(Refused):
    """Kaggle returned 403 or 404: it uses both for things that do not exist."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def as_read(error: CallFailed, what: str) -> RelayError:
    """Map a failure of a call that changes nothing to a RelayError."""
    match error:
        case HttpStatus(status=401):
            return _unauthorized(error)
        case HttpStatus(status=429):
            return RateLimited(f"{what}: {error}", error.retry_after_s)
        case HttpStatus(status=403 | 404):
            return NotFound(f"{what}: {error}", error.status)
        case HttpStatus(status=status) if 400 <= status < 500 and status != 408:
            return Refused(f"{what}: {error}")
        case NotSent():
            return Unreachable(f"{what}: {error}")
        case _:
            return Transient(f"{what}: {error}")


def as_change(error: CallFailed, what: str) -> RelayError:
    """Map a failure of a call that may have taken effect, although no good answer came, to a RelayError."""
    match error:
        case NotSent():
            return Unreachable(f"{what}: {error}")
        case HttpStatus(status=status) if 400 <= status < 500 and status != 408:
            return as_read(error, what)
        case _:
            return Ambiguous(f"{what}: no clear answer came ({error}), so it may have happened")


def _unauthorized(error: CallFailed) -> BadInput:
    return BadInput(
        f"Kaggle refused the credentials ({error}): create a new token at https://www.kaggle.com/settings "
        "and save it as ~/.kaggle/access_token"
    )


class _LargeBlocks(requests.adapters.HTTPAdapter):
    """HTTPAdapter that sends bodies in blocks of SEND_BLOCK_BYTES."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, blocksize=SEND_BLOCK_BYTES)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*args, **options, blocksize=SEND_BLOCK_BYTES)


class BoundedSession(requests.Session):
    """A session for one exchange; `limits` apply to the whole exchange, from the session's construction."""

    def __init__(self, limits: TransportLimits, authorization: str | None = None) -> None:
        super().__init__()
        self.limits = limits
        self.authorization = authorization
        self.read_s = limits.read_s
        for scheme in ("https://", "http://"):
            self.mount(scheme, _LargeBlocks())
        self.restart()
        self.auth = self._authorize  # always set: otherwise requests sends credentials from ~/.netrc

    def restart(self, lasts_s: float | None = None) -> None:
        """Restart the deadline, because sending may take long; `lasts_s` replaces the default of `limits.call_s`."""
        self.lasts_s = lasts_s or self.limits.call_s
        self.ends_at_s = monotonic_s() + self.lasts_s

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.authorization is not None:
            request.headers["Authorization"] = self.authorization
        return request

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Extends requests' method: never uses a proxy for loopback addresses."""
        settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {**settings, "proxies": {}} if is_loopback(str(url)) else settings

    def rebuild_proxies(self, prepared_request: requests.PreparedRequest, proxies: Any) -> Any:
        """Extends requests' method with the same exception for redirects."""
        if is_loopback(str(prepared_request.url)):
            return {}
        return super().rebuild_proxies(prepared_request, proxies)  # type: ignore[no-untyped-call]

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Extends requests' method: always sets the timeouts."""
        kwargs["timeout"] = (self.limits.connect_s, self.read_s)
        return super().send(request, **kwargs)

    def read_whole(self, response: requests.Response, sieve: Callable[[bytes], bytes] = bytes) -> bytes:
        """Return the body within the limits of size and time; afterwards `response.content` holds it too.

        `sieve` returns the part of each block to keep.
        """
        body = bytearray()
        for block in self.blocks(response):
            body += sieve(block)
            if len(body) > self.limits.body_bytes_max:
                raise InvalidResponse(f"the answer is larger than {self.limits.body_bytes_max} bytes")
        response._content = bytes(body)  # so that kagglesdk's `response.text` and `.json()` work
        return response._content

    def blocks(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body in blocks until the deadline; raises ConnectionLost after it."""
        for block in blocks_of(response, 2**16):
            yield block
            if monotonic_s() > self.ends_at_s:
                raise ConnectionLost(f"the answer took longer than {duration(self.lasts_s)}")


def blocks_of(response: requests.Response, bytes_max: int) -> Iterator[bytes]:
    """Yield the body as it arrives, in blocks of at most `bytes_max`, without waiting for a block to fill."""
    while block := response.raw.read1(bytes_max, decode_content=True):
        yield block


@contextmanager
def transport_errors(redact: Redact) -> Iterator[None]:
    """Convert exceptions of requests and urllib3 to NotSent or ConnectionLost."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        kind = NotSent if _never_sent(error) else ConnectionLost
        # Not `from error`: its text and its causes hold full URLs, and a signed URL gives access to its file.
        raise kind(redact(network_reason(error, REASON_CHARACTERS_MAX))) from None


def _never_sent(error: Exception) -> bool:
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.InvalidURL, UnicodeError)):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    early = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return isinstance(reason, early)


def check_status(response: requests.Response, body: bytes, redact: Redact) -> None:
    """Raise HttpStatus for an HTTP error, and for errors that Kaggle sends with HTTP 200."""
    status = _status(response.status_code, body)
    if status >= 400:
        text = body.decode(errors="replace")
        raise HttpStatus(status, redact(reason_of(text)), retry_after_s(response.headers))


def _status(http_status: int, body: bytes) -> int:
    if http_status >= 400 or not body.startswith(b"{"):
        return http_status
    try:
        answer = read_json(body, left_out=True)
    except OddJson:
        return http_status
    nested = answer.get("error")
    for place in (answer, nested if isinstance(nested, dict) else {}):
        code = place.get("code")
        if isinstance(code, int) and code >= 400:
            return code
    return http_status


def reason_of(text: str) -> str:
    """Extract the server's message from Kaggle's JSON error, plain text or an HTML page."""
    try:
        answer = read_json(text, left_out=True)
    except OddJson:
        plain = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", text)
        return whole_text(" ".join(plain.split())[:REASON_CHARACTERS_MAX])
    found = _message(answer)
    return whole_text((found if found else " ".join(text.split()))[:REASON_CHARACTERS_MAX])


def _message(answer: Any) -> str:
    if isinstance(answer, str):
        return answer
    if not isinstance(answer, dict):
        return ""
    for name in ("message", "error", "errorMessage", "error_description"):
        if found := _message(answer.get(name)):
            return found
    return ""


RETRY_AFTER_S_MAX = 900.0
"""Upper bound for a Retry-After header, in seconds; one that asks for a day costs 96 calls instead of one."""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds in a Retry-After header: a number, or a date compared with the Date header.

    None if it is absent or malformed; never more than RETRY_AFTER_S_MAX.
    """
    value = headers.get("Retry-After", "").strip()[:HEADER_CHARACTERS_MAX]
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(RETRY_AFTER_S_MAX, float(value))
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(RETRY_AFTER_S_MAX, max(0.0, wait.total_seconds()))


def is_loopback(url: str) -> bool:
    """Return whether a URL points to this machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
