"""Python API of relay for notebooks and scripts. See docs/python.md."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.app import pipeline_edits, requests
from orchestrator.app.app import SETTLED, App, warn_stderr
from orchestrator.app.origins import begun_as_named
from orchestrator.app.settings import Settings, home_folder
from orchestrator.base.clock import monotonic_s
from orchestrator.base.errors import BadInput, Parked
from orchestrator.engine.tick import TickResult
from orchestrator.pipeline import loader
from orchestrator.pipeline.model import Pipeline
from orchestrator.views.document import status_document
from orchestrator.views.fact_text import describe_tick
from orchestrator.views.moment import moment_of_any
from state.model.metrics import CurvePoint
from state.model.statuses import RunStatus

POLL_STATUS_S = 1.0
"""Poll interval of `Relay.wait`, in seconds."""

_LOCK = threading.Lock()
_WORKED_ON: set[Path] = set()
"""Home folders whose runs a thread of this process is executing."""

Document = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Draft:
    """A validated pipeline and the file it was read from."""

    pipeline: Pipeline
    path: Path
    """Path of the pipeline file. `inputs.files` and the user's own stages are resolved relative to its folder."""

    def shortened(self) -> "Draft":
        """Return a copy with one step per stage and short completions, to test whether every stage starts."""
        return replace(self, pipeline=self.pipeline.shortened())


Source = str | Path | Mapping[str, Any] | Draft
"""A path to a pipeline file, the same content as a mapping, or a `Draft` returned by `load`."""


def load(source: Source) -> Draft:
    """Read and validate a pipeline.

    Paths in a mapping are relative to the current folder. Raises BadInput with one sentence that names the key and the
    remedy.
    """
    if isinstance(source, Draft):
        return source
    if isinstance(source, (str, Path)):
        return Draft(loader.load(Path(source)), Path(source))
    try:
        plain = json.loads(json.dumps(source, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BadInput(f"the pipeline contains a value that a pipeline file cannot: {error}") from error
    return Draft(loader.check(plain, "the pipeline"), Path("a mapping"))


def open(home: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> "Relay":
    """Open a home folder, by default the one that the commands use. No file is written and no request sent yet.

    `environ` is searched for RELAY_HOME and Kaggle's credentials; default: this process's environment.
    """
    found = dict(os.environ if environ is None else environ)
    return Relay(App(Settings(home_folder(None if home is None else Path(home), found), found)))


@contextlib.contextmanager
def rehearsing(source: Source, folder: str | Path = ".relay/rehearsal") -> Iterator["Relay"]:
    """Run relay against a local Kaggle on this machine, without an account, while the `with` block is active.

    The local Kaggle has stand-ins for the models and data sets that the pipeline mounts, and sessions are local
    processes. A folder left by an earlier rehearsal is cleared first. Raises BadInput if the folder holds anything
    else.
    """
    from orchestrator.app import rehearse
    from orchestrator.rehearsal.local_kaggle.faults import FaultPlan

    draft = load(source)
    with rehearse.prepare_rehearsal(draft.pipeline, draft.path, Path(folder), 0, FaultPlan()) as app:
        yield Relay(app)


class Relay:
    """The runs of one home folder.

    A run is named by its id, or by its pipeline's name if that is unambiguous. Invalid input raises BadInput with one
    sentence that says what to do.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    def __repr__(self) -> str:
        return f"orchestrator.open({str(self.home)!r})"

    @property
    def home(self) -> Path:
        """Folder that holds the runs, their checkpoints and logs."""
        return self._app.home.path

    # --- create and execute --------------------------------------------------

    def start(self, source: Source, *, new: bool = False, origin: str = "", weights_only: bool = False) -> str:
        """Create a run and return its id; `run` or a daemon executes it.

        `origin`, as `RUN` or `RUN:STAGE:STEP`, names the checkpoint whose weights and optimizer state, or with
        `weights_only` weights alone, the run begins with; a published model takes the place of `model.source`. Raises BadInput if a run of this pipeline is still open,
        unless `new` is set, or if it cannot begin with the checkpoint; nothing is created then.
        """
        draft = load(source)
        pipeline = draft.pipeline
        with _private():
            if origin:
                pipeline = begun_as_named(self._app, pipeline, draft.path, origin, weights_only=weights_only)
            return self._app.begin(pipeline, draft.path, new=new).id

    def tick(self) -> list[str]:
        """Advance every open run as far as possible without waiting. Return one sentence for each thing that happened.

        Raises BadInput while a daemon, or another `run`, works on this home folder.
        """
        told: list[str] = []
        with self._alone(told.append):
            self._app.work_once(_listener(told.append))
        return told

    def run(
        self,
        run: str,
        *,
        until: Callable[[Document], bool] | None = None,
        timeout_s: float | None = None,
        say: Say | None = None,
    ) -> Document:
        """Act as the daemon of this home folder until the run ends. Return its document, as `status` does.

        Returns earlier if `until`, called with the document, returns True, or after `timeout_s` seconds. The session on
        Kaggle continues meanwhile, and the next call resumes the run where it stands. `say` is called with one sentence
        for each thing that happens. An interrupt loses nothing. Raises Parked if the run needs a person, and BadInput
        while another daemon works on this home folder.
        """
        name = self._id(run)
        enough = self._enough(name, until, timeout_s)
        seen = self._app.reader.snapshot(name)
        if seen.requests or seen.state.run.status not in (RunStatus.FINISHED, RunStatus.CANCELLED):
            with self._alone(say):
                self._app.work(_listener(say or _nothing), enough)
        return self._outcome(name, until)

    def wait(
        self, run: str, *, until: Callable[[Document], bool] | None = None, timeout_s: float | None = None
    ) -> Document:
        """Like `run`, but only poll while another process, such as `relay daemon`, executes the run.

        Needs no credentials.
        """
        name = self._id(run)
        enough = self._enough(name, until, timeout_s)
        while not enough():
            self._app.clock.sleep(POLL_STATUS_S)
        return self._outcome(name, until)

    # --- read ----------------------------------------------------------------

    def runs(self) -> list[str]:
        """Return the ids of all runs, oldest first."""
        return [run for run, _ in self._app.reader.run_names()] if self._app.has_store else []

    def status(self, run: str | None = None) -> Document:
        """Return the document of one run, or of all runs and the quota (see docs/status.md). Needs no credentials."""
        app = self._app
        name = None if run is None else self._id(run)
        store = app.reader if app.has_store else None
        with moment_of_any(store, app.clock.now) as (reader, now):
            document = status_document(reader, app.home.path, now, name, app.warnings())
        if name is None:
            return document
        found: Document = document["runs"][0]
        return found

    def curves(self, run: str, points_max: int = 500) -> dict[tuple[str, str], list[CurvePoint]]:
        """Return each metric of each stage over its steps, by (stage, metric).

        A point has `step`, `value`, and `low` and `high`: the extremes of the steps that it represents. A curve has at
        most `points_max` points.
        """
        found: dict[tuple[str, str], list[CurvePoint]] = {}
        for point in self._app.reader.series(self._id(run), points_max):
            found.setdefault((point.stage, point.name), []).append(point)
        return found

    # --- requests to the daemon ----------------------------------------------

    def pause(self, run: str) -> None:
        """Let the current session finish and start no other.

        The daemon acts on this, as on other requests, at its next tick.
        """
        requests.pause(self._app, run)

    def resume(
        self, run: str, *, from_step: str | int | None = None, abandon_session: bool = False, take_over: bool = False
    ) -> None:
        """Resume a parked, waiting or cancelled run from its newest verified checkpoint.

        `from_step` names an older checkpoint as `STEP` or `STAGE:STEP`. With `abandon_session` relay stops waiting for
        the session on Kaggle and starts the next one in its place. With `take_over` this home folder takes over the
        run, and any other home folder stops working on it.
        """
        chosen = None if from_step is None else str(from_step)
        requests.resume(self._app, run, chosen, abandon_session=abandon_session, take_over=take_over)

    def retry(self, run: str, *, abandon_session: bool = False) -> None:
        """Retry a parked run after its cause was fixed."""
        requests.retry(self._app, run, abandon_session=abandon_session)

    def edit(self, run: str, source: Source) -> tuple[str, ...]:
        """Change the pipeline of a run that has begun, from its next session on. Return the difference, line by line.

        Asks nothing. Raises BadInput if nothing changes, or if something may not change midway.
        """
        planned = pipeline_edits.planned_edit(self._app, run, _edited(source, self._app, run))
        pipeline_edits.ask(self._app, planned)
        return planned.lines

    def cancel(self, run: str) -> None:
        """Cancel a run. A session on Kaggle continues until it ends, as Kaggle offers no way to stop it; a cluster's job is
        cancelled.

        Asks nothing. `resume` takes it back as long as a checkpoint of the run exists.
        """
        requests.cancel(self._app, run)

    # --- private -------------------------------------------------------------

    def _id(self, run: str) -> str:
        return self._app.run(run).run.id

    @contextlib.contextmanager
    def _alone(self, say: Say | None) -> Iterator[None]:
        """Hold this home folder for one daemon.

        The lease separates processes; this lock separates the threads of one process. Notices that concern no single
        run go to `say`, or to standard error without it.
        """
        place = self.home.resolve()
        with _LOCK:
            if place in _WORKED_ON:
                raise BadInput(f"another thread of this program executes the runs of {place}: let this one wait(run)")
            _WORKED_ON.add(place)
        try:
            self._app.notice = say or warn_stderr
            with _private():
                yield
        finally:
            with _LOCK:
                _WORKED_ON.discard(place)

    def _enough(
        self, name: str, until: Callable[[Document], bool] | None, timeout_s: float | None
    ) -> Callable[[], bool]:
        """Return a predicate that is True once there is nothing to wait for. A pending request is worth waiting for."""
        end_s = None if timeout_s is None else monotonic_s() + timeout_s
        app = self._app

        def enough() -> bool:
            seen = app.reader.snapshot(name)
            settled = seen.state.run.status in SETTLED and not seen.requests
            late = end_s is not None and monotonic_s() >= end_s
            return late or settled or (until is not None and until(self.status(name)))

        return enough

    def _outcome(self, name: str, until: Callable[[Document], bool] | None) -> Document:
        document = self.status(name)
        if document["state"] == "parked" and not (until is not None and until(document)):
            raise Parked(name, document["reason"], document["remedy"])
        return document


def _edited(source: Source, app: App, run: str) -> pipeline_edits.EditedPipeline:
    if isinstance(source, (str, Path)):
        return pipeline_edits.read_file(Path(source), app, run)
    draft = load(source)
    return pipeline_edits.EditedPipeline(pipeline=draft.pipeline, path=draft.path, text="")


def _listener(say: Say) -> Callable[[str, TickResult], None]:
    def listen(run: str, tick: TickResult) -> None:
        for line in describe_tick(tick):
            say(f"{run}  {line}")

    return listen


def _nothing(_sentence: str) -> None:
    """Discard a sentence; the default for `say`."""


@contextlib.contextmanager
def _private() -> Iterator[None]:
    """Make files and folders that are written inside the block readable by their owner only, as the commands do."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
