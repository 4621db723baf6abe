"""The runs of a home folder as live pages on loopback: read-only, and usable only by relay's own pages."""

import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.app.app import App
from orchestrator.app.run_pages import NoSuchPage, RunPages
from orchestrator.base.clock import monotonic_s
from orchestrator.base.errors import BadInput
from orchestrator.base.local_server import LOOPBACK, server_of
from orchestrator.views.document import status_document
from orchestrator.views.open_metrics import MEDIA_TYPE, open_metrics
from orchestrator.views.pages import render
from orchestrator.views.run_page import read_run_page
from state.failures import StoreCorrupt, StoreUnavailable
from state.read_only import ReadOnlyStore
from state.reader import Reader
from state.revisions import SchemaError

HOSTS = (LOOPBACK, "localhost", "[::1]")
"""Accepted Host headers. Others are refused: a foreign page could resolve its name to this machine (DNS rebinding)."""

METRICS = "/metrics"
"""Key of the cached metrics; a slash is in no run's id."""
EVERY_S = 3.0
BUILD_TIMES = 5.0
"""Minimum time between builds of a document, in multiples of its build time, to limit the load of polling."""
STALE_S = 30.0
"""Seconds after which a document is rebuilt although the database has not changed: durations in it grow with time."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class CachedDocument:
    """A cached document, shared by all open pages."""

    text: bytes
    etag: str
    made_s: float
    every_s: float
    of: tuple[Any, ...]
    """State of the database when the document was built."""

    def is_current(self, now_s: float, of: tuple[Any, ...]) -> bool:
        """Return whether the document is still current: it is recent, or the database has not changed since."""
        age_s = now_s - self.made_s
        return age_s < self.every_s / 2 or (self.of == of and age_s < STALE_S)


@dataclass
class Dashboard:
    """Routes of the dashboard. Thread-safe; nothing is ever written."""

    relay: App
    clock_s: Callable[[], float] = monotonic_s
    _made: dict[str | None, CachedDocument] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def app(self) -> ASGIApp:
        """Return the whole ASGI application, including its request guard."""
        routes = [
            Route("/", self.runs),
            Route("/live.json", self.runs_live),
            Route("/runs/{run}", self.run),
            Route("/runs/{run}/live.json", self.run_live),
            *RunPages(self._store, self.relay.home, self._now).routes,
            Route("/metrics", self.open_metrics),
            Route("/static/{name:path}", serve_static),
        ]
        handlers: dict[Any, Any] = {
            NoSuchPage: lambda request, error: _trouble(request, error.args[0], 404),
            NoSuchRun: lambda request, error: _trouble(request, error.args[0], 404),
            StoreUnavailable: lambda request, error: _trouble(request, str(error), 503),
            StoreCorrupt: lambda request, error: _trouble(request, str(error), 503),
            BadInput: lambda request, error: _trouble(request, str(error), 503),
            404: lambda request, error: _trouble(request, "there is no such page", 404),
        }
        return RequestGuard(Starlette(routes=routes, exception_handlers=handlers))

    # --- pages ------------------------------------------------------------------

    def runs(self, request: Request) -> Response:
        """Serve the list of all runs."""
        return HTMLResponse(render.runs_page(self._status(), render.LiveSource("/live.json", EVERY_S)))

    def run(self, request: Request) -> Response:
        """Serve the page of one run."""
        name = request.path_params["run"]
        return HTMLResponse(
            render.live_page(self._history(name), render.LiveSource(f"/runs/{name}/live.json", EVERY_S))
        )

    # --- JSON for live updates --------------------------------------------------

    def runs_live(self, request: Request) -> Response:
        """Serve the list of runs as JSON for live updates."""
        return self._live(request, None, self._runs_document)

    def run_live(self, request: Request) -> Response:
        """Serve the page of one run as JSON for live updates."""
        name = request.path_params["run"]
        return self._live(request, name, lambda: self._run_document(name))

    def open_metrics(self, request: Request) -> Response:
        """Serve the state of all runs for Prometheus and other monitors, in the OpenMetrics format."""
        document = self._fresh(METRICS, lambda: {"text": open_metrics(self._status())})
        return Response(json.loads(document.text)["text"], media_type=MEDIA_TYPE)

    def _live(self, request: Request, run: str | None, make: Callable[[], dict[str, Any]]) -> Response:
        made = self._fresh(run, make)
        headers = {"ETag": made.etag}
        if request.headers.get("if-none-match") == made.etag:
            return Response(status_code=304, headers=headers)
        return Response(made.text, media_type="application/json", headers=headers)

    def _fresh(self, run: str | None, make: Callable[[], dict[str, Any]]) -> CachedDocument:
        with self._lock:
            began_s, known, of = self.clock_s(), self._made.get(run), self._written(run)
            if known is not None and known.is_current(began_s, of):
                return known
            document = make()
            took_s = self.clock_s() - began_s
            every_s = max(EVERY_S, float(round(BUILD_TIMES * took_s)))
            text = json.dumps({**document, "every_s": every_s}).encode()
            etag = f'"{hashlib.sha256(text).hexdigest()[:32]}"'
            self._made[run] = made = CachedDocument(text, etag, self.clock_s(), every_s, of)
            return made

    def _written(self, name: str | None) -> tuple[Any, ...]:
        """Return a value that changes whenever the daemon writes something about the run (None: any run)."""
        store = self._store()
        runs = [] if store is None else [run for run in store.runs() if name in (None, METRICS, run.id)]
        return tuple((run, store.watch(run.id), store.requests(run.id)) for run in runs if store is not None)

    def _runs_document(self) -> dict[str, Any]:
        status = self._status()
        states = {run["id"]: run["state"] for run in status["runs"]}
        return {
            "title": "Runs – relay",
            "state": json.dumps(states),
            "announcement": "; ".join(f"{run} is {state}" for run, state in states.items()),
            "sections": {"runs": render.runs_section(status)},
        }

    def _run_document(self, name: str) -> dict[str, Any]:
        history = self._history(name)
        run = history["run"]
        return {
            "title": f"{run['id']}: {run['state']} – relay",
            "state": run["state"],
            "announcement": f"{run['id']} is {run['state']} now",
            "sections": render.sections(history),
            "charts": render.charts(history),
        }

    # --- data ---------------------------------------------------------------------

    def _status(self) -> Mapping[str, Any]:
        return status_document(self._store(), self.relay.home.path, self._now(), None, self.relay.warnings())

    def _history(self, name: str) -> dict[str, Any]:
        store = self._store()
        if store is None or name not in [run for run, _ in store.run_names()]:
            raise NoSuchRun(f"there is no run {name}")
        return read_run_page(store, self.relay.home, name, self._now())

    def _store(self) -> Reader | None:
        """Return the database, read-only, as it is now; None if it does not exist yet."""
        if not self.relay.has_store:
            return None
        try:
            return ReadOnlyStore(self.relay.home.path)
        except SchemaError as error:
            raise BadInput(f"{error}: relay daemon brings it up to date, or says what to do") from error

    def _now(self) -> datetime:
        return self.relay.clock.now()


class NoSuchRun(Exception):
    """The URL names a run that is not in this home folder."""


class RequestGuard:
    """Middleware that accepts only GET and HEAD to a loopback host name, and adds the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = _refusal(scope)

        async def sealed(message: Any) -> None:
            if message["type"] == "http.response.start":
                sealing = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *sealing]}
            await send(message)

        await (refusal or self._app)(scope, receive, sealed)


def _refusal(scope: Scope) -> Response | None:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or _without_port(hosts[0]) not in HOSTS:
        return PlainTextResponse("relay's dashboard answers only to the name of this machine itself\n", 403)
    if scope["method"] not in ("GET", "HEAD"):
        return PlainTextResponse("this page only shows: GET and HEAD\n", 405, {"Allow": "GET, HEAD"})
    return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def serve_static(request: Request) -> Response:
    """Serve one of relay's own static files; other files cannot be requested."""
    name = request.path_params["name"]
    kind = render.SERVED.get(name)
    if kind is None:
        return PlainTextResponse("there is no such file\n", 404)
    return Response((render.HERE / Path(name)).read_bytes(), media_type=kind)


def _trouble(request: Request, sentence: str, status: int) -> Response:
    if request.url.path.endswith(".json"):
        return Response(json.dumps({"error": sentence}), status, media_type="application/json")
    return HTMLResponse(render.trouble_page(sentence), status)


# --- serving ------------------------------------------------------------------------


def listening(port: int) -> socket.socket:
    """Listen on a loopback port; 0 selects a free one. Raises BadInput if the port is taken."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise BadInput(f"--port {port} cannot be used ({why}): choose another, or 0 for a free one") from error


def listening_if_free(port: int) -> socket.socket | None:
    """Listen on a loopback port; return None if it is taken."""
    try:
        return listening(port)
    except BadInput:
        return None


class Served:
    """Context manager that serves the dashboard on a loopback port."""

    def __init__(self, dashboard: Dashboard, listener: socket.socket) -> None:
        self._server = server_of(dashboard.app())
        self._listener = listener
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="dashboard", daemon=True)
        self.url = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
        """URL for the browser."""

    def __enter__(self) -> "Served":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
