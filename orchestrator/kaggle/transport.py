"""One HTTP session per call: bounded in time and size, past any proxy to this machine, errors in the server's own words.

CallFailed
├── Answered    an HTTP status that says no; `status` and the reason that kagglesdk would hide
├── Unsent      nothing reached the server
├── Cut         the request went out and no whole answer came back
└── Nonsense    a whole answer that means nothing

What they mean depends on the call: `as_read` for one that changes nothing, `as_change` for one that may have happened.
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
from orchestrator.base.errors import Ambiguous, BadInput, RateLimited, Refused, RelayError, Transient
from stages.safe_text import OddJson, read_json, whole_text

Redact = Callable[[str], str]

REASON_CHARACTERS_MAX = 500
HEADER_CHARACTERS_MAX = 100
"""Of a header with a number or a date: a longer one is cut before it is read, and is neither then or a very large number."""

UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a library raises over an answer that it did not expect: an unknown word, a date that no calendar has, another type."""
SEND_BLOCK_BYTES = 2**18
"""A body leaves in blocks of this size. urllib3's own 16 KiB cost more than the sending of them."""


@dataclass(frozen=True, kw_only=True)
class TransportLimits:
    """How long one call may take, in seconds, and how large an answer that is kept in memory may be."""

    connect_s: float = 15.0
    read_s: float = 60.0
    """Silence on an open connection."""
    call_s: float = 150.0
    """One whole call, however steadily its answer trickles in."""
    quiet_s: float = 2.0
    """A live log that is silent for this long has shown what there is."""
    live_s: float = 20.0
    """A live log that is never silent is read for this long."""
    follow_s: float = 300.0
    """A followed log that is silent for this long is asked for anew."""
    retry_s: float = 1.0
    """Before the second try of a call that may be repeated; doubles with each further one."""
    attempts_max: int = 6
    """Of a call that may be repeated."""
    log_s: float = 1800.0
    """An answer that holds a stored log, however steadily that trickles in."""
    body_bytes_max: int = 64 * 2**20


class CallFailed(Exception):
    """Base of what can go wrong with one exchange; the text is redacted."""


class HttpStatus(CallFailed):
    """An HTTP status that says no."""

    def __init__(self, status: int, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {reason}" if reason else f"HTTP {status}")
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class NotSent(CallFailed):
    """Nothing reached the server."""


class ConnectionLost(CallFailed):
    """The request went out and no whole answer came back."""


class InvalidResponse(CallFailed):
    """A whole answer that means nothing."""


def unreadable(error: Exception, redact: Redact) -> InvalidResponse:
    """What to raise for an answer that is JSON and makes no sense to whoever reads on."""
    return InvalidResponse(
        redact(f"the answer cannot be read ({type(error).__name__}: {error})")[:REASON_CHARACTERS_MAX]
    )


class NotFound(Refused):
    """403 or 404: Kaggle gives both for things that do not exist."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def as_read(error: CallFailed, what: str) -> RelayError:
    """The error of a call that changes nothing."""
    match error:
        case HttpStatus(status=401):
            return _unauthorized(error)
        case HttpStatus(status=429):
            return RateLimited(f"{what}: {error}", error.retry_after_s)
        case HttpStatus(status=403 | 404):
            return NotFound(f"{what}: {error}", error.status)
        case HttpStatus(status=status) if 400 <= status < 500 and status != 408:
            return Refused(f"{what}: {error}")
        case _:
            return Transient(f"{what}: {error}")


def as_change(error: CallFailed, what: str) -> RelayError:
    """The error of a call that may have happened although no good answer came."""
    match error:
        case NotSent():
            return Transient(f"{what}: {error}")
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
    """As in requests, except for the size of the blocks in which a body is sent."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, blocksize=SEND_BLOCK_BYTES)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*args, **options, blocksize=SEND_BLOCK_BYTES)


class BoundedSession(requests.Session):
    """A session for one exchange: `limits` hold for it as a whole, from the moment the session is made."""

    def __init__(self, limits: TransportLimits, authorization: str | None = None) -> None:
        super().__init__()
        self.limits = limits
        self.authorization = authorization
        self.read_s = limits.read_s
        for scheme in ("https://", "http://"):
            self.mount(scheme, _LargeBlocks())
        self.restart()
        self.auth = self._authorize  # set even when empty: otherwise requests sends what it finds in ~/.netrc

    def restart(self, lasts_s: float | None = None) -> None:
        """Count the time from now: what took so long was sending, which may. `lasts_s`: other than for a call."""
        self.lasts_s = lasts_s or self.limits.call_s
        self.ends_at_s = monotonic_s() + self.lasts_s

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.authorization is not None:
            request.headers["Authorization"] = self.authorization
        return request

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """As in requests, except that no proxy stands between us and this machine."""
        settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {**settings, "proxies": {}} if is_loopback(str(url)) else settings

    def rebuild_proxies(self, prepared_request: requests.PreparedRequest, proxies: Any) -> Any:
        """As in requests, and the same exception for redirects."""
        if is_loopback(str(prepared_request.url)):
            return {}
        return super().rebuild_proxies(prepared_request, proxies)  # type: ignore[no-untyped-call]

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As in requests, with time limits always set."""
        kwargs["timeout"] = (self.limits.connect_s, self.read_s)
        return super().send(request, **kwargs)

    def read_whole(self, response: requests.Response, sieve: Callable[[bytes], bytes] = bytes) -> bytes:
        """The body, at most as large and as late as the limits say. `response.content` gives it again.

        `sieve` says what of each block is kept.
        """
        body = bytearray()
        for block in self.blocks(response):
            body += sieve(block)
            if len(body) > self.limits.body_bytes_max:
                raise InvalidResponse(f"the answer is larger than {self.limits.body_bytes_max} bytes")
        response._content = bytes(body)  # so that kagglesdk's `response.text` and `.json()` work
        return response._content

    def blocks(self, response: requests.Response) -> Iterator[bytes]:
        """The body block by block, at most as late as the limits say."""
        for block in blocks_of(response, 2**16):
            yield block
            if monotonic_s() > self.ends_at_s:
                raise ConnectionLost(f"the answer took longer than {self.lasts_s:g} s")


def blocks_of(response: requests.Response, bytes_max: int) -> Iterator[bytes]:
    """The body as it arrives, in blocks of at most `bytes_max`: what has come is never held back to fill a block."""
    while block := response.raw.read1(bytes_max, decode_content=True):
        yield block


@contextmanager
def honest_errors(redact: Redact) -> Iterator[None]:
    """Whatever requests or urllib3 raise inside comes out as Unsent or Cut."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        kind = NotSent if _never_sent(error) else ConnectionLost
        # Not `from error`: its text, and that of its own causes, holds addresses whole, and a signed one is a key to its file.
        raise kind(redact(_short(error))) from None


def _never_sent(error: Exception) -> bool:
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.InvalidURL, UnicodeError)):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    early = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return isinstance(reason, early)


def _short(error: Exception) -> str:
    return re.sub(r"\?[^\s'\")]+", "?…", whole_text(f"{type(error).__name__}: {error}"))[:REASON_CHARACTERS_MAX]


def check_status(response: requests.Response, body: bytes, redact: Redact) -> None:
    """Raise Answered for an HTTP error, and for Kaggle's errors that travel under a status of 200."""
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
    """What the server said, out of Kaggle's JSON error, plain text or an HTML page."""
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
"""What a header asks for beyond this is cut: whoever meant a day is asked 96 times instead of once."""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or as a date (measured against the server's own).

    None where it is absent or makes no sense; never more than RETRY_AFTER_S_MAX, however long the number or far the date.
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
    """Whether an address is on this machine."""
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
