"""Token of one dashboard, and the visits of those who gave it: cookies, and a one-time token for each form."""

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.base.clock import monotonic_s

TOKEN_BYTES = 24
VISITS_MAX = 16
FORMS_MAX = 64
"""Maximum number of forms per visit that may be open at once; the oldest ones are forgotten."""
IDLE_S = 8 * 3600.0
"""Seconds without a request after which a visit ends."""


@dataclass
class Visit:
    """A browser in which the token was given."""

    seen_s: float
    forms: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """What each open form is for, by the digest of its one-time token."""


class VisitAccess:
    """Holds the token of one dashboard and the visits of those who gave it, in memory alone. Thread-safe."""

    def __init__(self, clock_s: Callable[[], float] = monotonic_s) -> None:
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        """Secret that the terminal prints. It is in no address, no cookie and no file."""
        self._clock_s = clock_s
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, given: str) -> str | None:
        """Begin a visit if the token is right. Return the value of its cookie; None for a wrong token."""
        if not hmac.compare_digest(_digest(given), _digest(self.token)):
            return None
        value = secrets.token_urlsafe(TOKEN_BYTES)
        with self._lock:
            self._visits[_digest(value)] = Visit(self._clock_s())
            while len(self._visits) > VISITS_MAX:
                self._visits.popitem(last=False)
        return value

    def end(self, request: Request) -> None:
        """End the visit that the request belongs to."""
        with self._lock:
            self._visits.pop(_cookie_digest(request), None)

    def knows(self, request: Request) -> bool:
        """Return True if the request belongs to a visit."""
        with self._lock:
            return self._visit(request) is not None

    def form_token(self, request: Request, purpose: str) -> str:
        """Return a one-time token for a form of this visit; empty if the request belongs to no visit."""
        with self._lock:
            visit = self._visit(request)
            if visit is None:
                return ""
            token = secrets.token_urlsafe(TOKEN_BYTES)
            visit.forms[_digest(token)] = purpose
            while len(visit.forms) > FORMS_MAX:
                visit.forms.popitem(last=False)
            return token

    def takes(self, request: Request, token: str, purpose: str) -> bool:
        """Use up a form's token. Return True if it was made in this visit for this purpose and not used before."""
        with self._lock:
            visit = self._visit(request)
            return visit is not None and visit.forms.pop(_digest(token), None) == purpose

    def _visit(self, request: Request) -> Visit | None:
        found = self._visits.get(digest := _cookie_digest(request))
        if found is not None and self._clock_s() - found.seen_s > IDLE_S:
            del self._visits[digest]
            return None
        if found is not None:
            found.seen_s = self._clock_s()
        return found


def cookie_name(request: Request) -> str:
    """Return the cookie's name. It holds the port: browsers send cookies to every port of a machine."""
    return f"relay-{request.url.port or 80}"


def set_cookie(request: Request, response: Response, value: str) -> None:
    """Hand out the cookie of a visit: not readable by scripts, not sent with requests from other sites."""
    response.set_cookie(cookie_name(request), value, httponly=True, samesite="strict", path="/")


def _cookie_digest(request: Request) -> str:
    return _digest(request.cookies.get(cookie_name(request), ""))


def _digest(text: str) -> str:
    """Return a digest by which secrets are compared and looked up, so that timing tells nothing of them."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
