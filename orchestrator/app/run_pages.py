"""Pages of the dashboard beside a run's own: its artifacts, its evaluations' transcripts, and comparisons."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from orchestrator.engine.home import HomeLayout
from orchestrator.views.artifact_list import artifact_paths, transcript_stage
from orchestrator.views.moment import moment_of
from orchestrator.views.pages import render
from orchestrator.views.run_comparison import read_comparison
from orchestrator.views.transcripts import FILTERS, transcript_page
from state.reader import Reader

COMPARED_MAX = 12
"""Maximum number of runs in one comparison."""
OFFSET_DIGITS_MAX = 15


class NoSuchPage(Exception):
    """The URL names something that is not in this home folder; the message is a sentence for the page."""


@dataclass(frozen=True)
class RunPages:
    """Handlers of these pages. Read-only; every file is named by a listing of its folder, never by a path in the URL."""

    store: Callable[[], Reader | None]
    home: HomeLayout
    now: Callable[[], datetime]

    @property
    def routes(self) -> list[Route]:
        """Return the routes, to be put before those of a whole run."""
        return [
            Route("/compare", self.compare),
            Route("/runs/{run}/artifacts/{name}", self.artifact),
            Route("/runs/{run}/transcripts/{stage}", self.transcripts),
        ]

    def artifact(self, request: Request) -> Response:
        """Serve one artifact as a download: a browser never shows what a model wrote as a page of this server."""
        run, name = request.path_params["run"], request.path_params["name"]
        path = next((path for path in artifact_paths(self._artifacts(run)) if path.name == name), None)
        if path is None:
            raise NoSuchPage(f"{run} has no artifact {name}")
        return FileResponse(path, media_type="application/octet-stream", filename=name)

    def transcripts(self, request: Request) -> Response:
        """Serve one page of an evaluation's transcripts: `show` is a filter, `offset` a position in the file."""
        run, stage = request.path_params["run"], request.path_params["stage"]
        path = next((p for p in artifact_paths(self._artifacts(run)) if transcript_stage(p.name) == stage), None)
        if path is None:
            raise NoSuchPage(f"{run} has no transcripts of {stage}")
        show, offset = request.query_params.get("show", "all"), request.query_params.get("offset", "0")
        if show not in FILTERS:
            raise NoSuchPage(f"there is no filter {show}: choose {', '.join(FILTERS)}")
        if not (offset.isascii() and offset.isdigit() and len(offset) <= OFFSET_DIGITS_MAX):
            raise NoSuchPage(f"{offset} is no position in a file: begin with the first page")
        found = transcript_page(path, show, int(offset))
        next_url = None
        if found.next_offset is not None:
            next_url = f"?{urlencode({'show': show, 'offset': found.next_offset})}"
        values = {"run": run, "stage": stage, "show": show, "rows": found.rows, "offset": int(offset)}
        filters = {name: words for name, (words, _) in FILTERS.items()}
        return HTMLResponse(render.transcripts_page({**values, "filters": filters, "next_url": next_url}))

    def compare(self, request: Request) -> Response:
        """Serve the comparison of the runs that the query names, as `relay compare` makes it."""
        runs = list(dict.fromkeys(request.query_params.getlist("run")))
        store = self.store()
        known = {run for run, _ in store.run_names()} if store else set()
        if unknown := [run for run in runs if run not in known]:
            raise NoSuchPage(f"there is no run {unknown[0]}")
        if not 2 <= len(runs) <= COMPARED_MAX:
            raise NoSuchPage(f"a comparison takes 2 to {COMPARED_MAX} runs: choose them on the page of one of them")
        assert store is not None
        with moment_of(store, self.now) as (reader, now):
            document = read_comparison(reader, self.home, runs, now)
        return HTMLResponse(render.served_comparison(document))

    def _artifacts(self, run: str) -> Path:
        store = self.store()
        if store is None or run not in {name for name, _ in store.run_names()}:
            raise NoSuchPage(f"there is no run {run}")
        return self.home.artifacts(run)
