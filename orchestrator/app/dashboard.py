"""The runs of a home folder as live pages on loopback, usable only by relay's own pages; who gives the token may act."""

import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orchestrator.app.app import App
from orchestrator.app.run_pages import NoSuchPage, RunPages
from orchestrator.app.web.acting import DASHBOARD, Acting, TooLong
from orchestrator.app.web.audit import AuditLog
from orchestrator.app.web.guard import RequestGuard
from orchestrator.app.web.list_source import ListSource
from orchestrator.app.web.visits import VisitAccess
from orchestrator.base.clock import monotonic_s
from orchestrator.base.errors import BadInput
from orchestrator.base.local_server import LOOPBACK, server_of
from orchestrator.views.log_tail import log_part
from orchestrator.views.moment import moment_of, moment_of_any
from orchestrator.views.monitor_document import monitor_document
from orchestrator.views.open_metrics import MEDIA_TYPE, open_metrics
from orchestrator.views.pages import render, working
from orchestrator.views.run_list import arranged, chosen_rows
from orchestrator.views.run_page import read_run_page
from state.failures import StoreCorrupt, StoreUnavailable
from state.model.run_state import RunState
from state.read_only import ReadOnlyStore
from state.reader import Reader
from state.revisions import SchemaError

METRICS = "/metrics"
"""Key of the cached metrics; a slash is in no run's id."""
EVERY_S = 3.0
BUILD_TIMES = 5.0
"""Minimum time between builds of a document, in multiples of its build time, to limit the load of polling."""
AT = re.compile(r"[0-9]{1,15}")
"""Byte of a log in a query."""
STALE_S = 30.0
"""Seconds after which a document is rebuilt although the database has not changed: durations in it grow with time."""


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
    """Routes of the dashboard. Thread-safe. Only the routes of `Acting` write, and only for visitors who gave the token."""

    relay: App
    clock_s: Callable[[], float] = monotonic_s
    access: VisitAccess = field(default_factory=VisitAccess)
    _made: dict[str | None, CachedDocument] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Connect the parts that read the home folder."""
        self._source = ListSource(self.relay)
        log = self.relay.home.daemon_log.with_name("dashboard.log")
        self._audit = AuditLog(log, self.relay.clock.now)

    def app(self) -> ASGIApp:
        """Return the whole ASGI application, including its request guard."""
        routes = [
            Route("/", self.runs),
            Route("/live.json", self.runs_live),
            Route("/runs/{run}", self.run),
            Route("/runs/{run}/live.json", self.run_live),
            *RunPages(self._store, self.relay.home, self._now).routes,
            Route("/metrics", self.open_metrics),
            Route("/runs/{run}/log", self.log),
            Route("/runs/{run}/log.json", self.log_json),
            Route("/static/{name:path}", serve_static),
            *Acting(self._writer(), self.access, self._audit, self._require_run).routes(),
        ]
        handlers: dict[Any, Any] = {
            NoSuchPage: lambda request, error: _trouble(request, error.args[0], 404),
            NoSuchRun: lambda request, error: _trouble(request, error.args[0], 404),
            StoreUnavailable: lambda request, error: _trouble(request, str(error), 503),
            StoreCorrupt: lambda request, error: _trouble(request, str(error), 503),
            BadInput: lambda request, error: _trouble(request, str(error), 503),
            TooLong: lambda request, error: _trouble(request, "the form is too long", 413),
            404: lambda request, error: _trouble(request, "there is no such page", 404),
        }
        return RequestGuard(Starlette(routes=routes, exception_handlers=handlers))

    def close(self) -> None:
        """Close the log of the actions."""
        self._audit.close()

    # --- pages ------------------------------------------------------------------

    def runs(self, request: Request) -> Response:
        """Serve the list of all runs; without scripts, those that the address chooses, in the order that it names."""
        chosen = chosen_rows(request.query_params)
        document = arranged(self._list(), chosen)
        leave = self.access.form_token(request, "logout")
        return HTMLResponse(working.list_page(document, render.LiveSource("/live.json", EVERY_S), chosen, leave))

    def run(self, request: Request) -> Response:
        """Serve the page of one run."""
        name = request.path_params["run"]
        return HTMLResponse(
            render.live_page(self._history(name), render.LiveSource(f"/runs/{name}/live.json", EVERY_S))
        )

    def log(self, request: Request) -> Response:
        """Serve the end of the newest session's log, which a script follows."""
        name = request.path_params["run"]
        return HTMLResponse(working.log_page(name, log_part(self.relay.home, self._state(name))))

    def log_json(self, request: Request) -> Response:
        """Serve the lines of a session's log that follow a byte of it."""
        asked, state = request.query_params, self._state(request.path_params["run"])
        at = asked.get("at", "")
        part = log_part(self.relay.home, state, asked.get("slug", ""), int(at) if AT.fullmatch(at) else None)
        return Response(json.dumps(asdict(part)), media_type="application/json")

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
        if store is None:
            return ()
        if name is None:
            return (*store.change_mark(), self._source.generation)
        runs = [run for run in store.runs() if name == METRICS or run.id == name]
        return tuple((run, store.watch(run.id), store.requests(run.id)) for run in runs)

    def _runs_document(self) -> dict[str, Any]:
        document = self._list()
        states = {run["id"]: run["state"] for run in document["runs"]}
        return {
            "title": "Runs – relay",
            "state": json.dumps(states),
            "announcement": "; ".join(f"{run} is {state}" for run, state in states.items()),
            "sections": {"runs": working.list_section(document)},
        }

    def _run_document(self, name: str) -> dict[str, Any]:
        history = self._history(name)
        run = history["run"]
        return {
            "title": f"{run['id']}: {run['state']} – relay",
            "state": run["state"],
            "announcement": f"{run['id']} is {run['state']} now",
            "sections": {**render.sections(history), "actions": working.actions_part(run["id"], run["state"])},
            "charts": render.charts(history),
        }

    # --- data ---------------------------------------------------------------------

    def _status(self) -> Mapping[str, Any]:
        with moment_of_any(self._store(), self._now) as (store, now):
            return monitor_document(store, now)

    def _list(self) -> dict[str, Any]:
        return self._source.document(self._store())

    def _state(self, name: str) -> RunState:
        """Return a run's rows, not verified: for its log."""
        self._require_run(name)
        store = self._store()
        assert store is not None
        return store.rows(name)

    def _require_run(self, name: str) -> None:
        """Raise NoSuchRun, or BadInput for a database of another version, which a request would else bring up to date."""
        store = self._store()
        if store is None or name not in [run for run, _ in store.run_names()]:
            raise NoSuchRun(f"there is no run {name}")

    def _history(self, name: str) -> dict[str, Any]:
        self._require_run(name)
        store = self._store()
        assert store is not None
        with moment_of(store, self._now) as (reader, now):
            return read_run_page(reader, self.relay.home, name, now)

    def _writer(self) -> App:
        """Return the home folder as the actions use it: what they store names the dashboard."""
        writer = App(self.relay.settings)
        writer.requested_by = DASHBOARD
        return writer

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


def serve_static(request: Request) -> Response:
    """Serve one of relay's own static files; other files cannot be requested."""
    name = request.path_params["name"]
    kind = working.SERVED.get(name)
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
        self._dashboard = dashboard
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
        self._dashboard.close()
