"""Middleware of the dashboard: whom it answers, which methods it accepts, and the security headers of every answer."""

import re
from typing import Any

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.base.local_server import LOOPBACK

HOSTS = (LOOPBACK, "localhost", "[::1]")
"""Accepted Host headers. Others are refused: a foreign page could resolve its name to this machine (DNS rebinding)."""

ACTING = re.compile(r"/login|/logout|/runs/[^/]+/(?:pause|resume|retry|cancel|edit)")
"""Paths that accept POST."""
FORM = "application/x-www-form-urlencoded"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With no-referrer, browsers would send the Origin of forms as null. No address here holds a secret.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RequestGuard:
    """Middleware that answers only to a loopback host name, takes POST only from the dashboard's own pages, and adds
    the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = refusal_of(scope)

        async def sealed(message: Any) -> None:
            if message["type"] == "http.response.start":
                sealing = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *sealing]}
            await send(message)

        await (refusal or self._app)(scope, receive, sealed)


def refusal_of(scope: Scope) -> Response | None:
    """Return the answer to a request that is refused whatever it asks for; None if it may pass."""
    hosts = _all(scope, b"host")
    if len(hosts) != 1 or _without_port(hosts[0]) not in HOSTS:
        return PlainTextResponse("relay's dashboard answers only to the name of this machine itself\n", 403)
    if scope["method"] in ("GET", "HEAD"):
        return None
    if scope["method"] != "POST" or not ACTING.fullmatch(scope["path"]):
        return PlainTextResponse("this page only shows: GET and HEAD\n", 405, {"Allow": "GET, HEAD"})
    if not _is_own_form(scope, hosts[0]):
        return PlainTextResponse("only the dashboard's own pages can do that: open it and use its buttons\n", 403)
    return None


def _is_own_form(scope: Scope, host: str) -> bool:
    """Return True if a POST comes from a form on a page with the same scheme, name and port."""
    origins, sites = _all(scope, b"origin"), _all(scope, b"sec-fetch-site")
    kinds = [kind.partition(";")[0].strip().lower() for kind in _all(scope, b"content-type")]
    return origins == [f"http://{host}"] and kinds == [FORM] and sites in ([], ["same-origin"])


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for found, value in scope["headers"] if found == name]


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
