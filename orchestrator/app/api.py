"""relay for notebooks and scripts: what the commands do, as functions. See docs/python.md."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.app import requests
from orchestrator.app.app import SETTLED, App, warn_stderr
from orchestrator.app.settings import Settings, home_folder
from orchestrator.base.clock import monotonic_s
from orchestrator.base.errors import BadInput, Parked
from orchestrator.engine.tick import Turn
from orchestrator.pipeline import loader
from orchestrator.pipeline.model import Pipeline
from orchestrator.views.document import status_document
from orchestrator.views.fact_text import lines
from state.model import CurvePoint, RunStatus

LOOK_S = 1.0
"""How often a run is looked at that another process carries out."""

_LOCK = threading.Lock()
_WORKED_ON: set[Path] = set()
"""Home folders whose runs a thread of this process carries out just now."""

Document = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Draft:
    """A pipeline that was read and found good, and the file that it came from."""

    pipeline: Pipeline
    path: Path
    """What its own files, `inputs.files` and stages of the user's own, lie beside."""

    def shortened(self) -> "Draft":
        """The same with one step of each stage and short answers: does everything start?"""
        return replace(self, pipeline=self.pipeline.shortened())


Source = str | Path | Mapping[str, Any] | Draft
"""A pipeline file, what such a file says as a mapping, or what `load` made of either."""


def load(source: Source) -> Draft:
    """Read and check a pipeline; raises BadInput with one sentence that names the key and the remedy.

    The files that a mapping names are relative to the current folder.
    """
    if isinstance(source, Draft):
        return source
    if isinstance(source, (str, Path)):
        return Draft(loader.load(Path(source)), Path(source))
    try:
        plain = json.loads(json.dumps(source, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BadInput(f"the pipeline holds what a pipeline file cannot say: {error}") from error
    return Draft(loader.check(plain, "the pipeline"), Path("a mapping"))


def open(home: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> "Relay":
    """relay on a home folder: by default the one that the commands use. Nothing is made or asked before it is needed.

    `environ` is where RELAY_HOME and Kaggle's credentials are looked for; default: this process's environment.
    """
    found = dict(os.environ if environ is None else environ)
    return Relay(App(Settings(home_folder(None if home is None else Path(home), found), found)))


@contextlib.contextmanager
def rehearsing(source: Source, folder: str | Path = ".relay/rehearsal") -> Iterator["Relay"]:
    """relay on a Kaggle of this machine, without an account, for as long as the `with` block runs.

    It has stand-ins for what the pipeline mounts, and its sessions are processes here. The folder is cleared first where an
    earlier rehearsal left it; one that holds anything else is refused with BadInput.
    """
    from orchestrator.app import rehearse
    from orchestrator.rehearsal.local_kaggle.faults import FaultPlan

    draft = load(source)
    with rehearse.prepared(draft.pipeline, draft.path, Path(folder), 0, FaultPlan()) as app:
        yield Relay(app)


class Relay:
    """The runs of one home folder. A run is named by its id, or by its pipeline's name where that is enough.

    What does not fit raises BadInput, always with one sentence that says what to do.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    def __repr__(self) -> str:
        return f"orchestrator.open({str(self.home)!r})"

    @property
    def home(self) -> Path:
        """The folder that holds the runs, their checkpoints and logs."""
        return self._app.home.path

    # --- begin and carry out -------------------------------------------------

    def start(self, source: Source, *, new: bool = False) -> str:
        """Create a run and answer its id; `run`, or a daemon, carries it out.

        Raises BadInput where a run of this pipeline is under way, unless `new` is set, and then nothing is created.
        """
        draft = load(source)
        with _private():
            return self._app.begin(draft.pipeline, draft.path, new=new).id

    def tick(self) -> list[str]:
        """Carry every open run as far as it goes without waiting; answers what happened, a sentence each.

        Raises BadInput while a daemon, or another `run`, has this home folder.
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
        """Be the daemon of this home folder until the run is finished or cancelled; answers its document, as `status` does.

        Comes back earlier once `until`, which gets the document, is true, or after `timeout_s`: the session on Kaggle goes on
        meanwhile, and the next call takes the run up where it is. `say` is told what happens, a sentence each. Raises Parked
        where the run needs a person, and BadInput while another daemon has this home folder. An interrupt loses nothing.
        """
        name = self._id(run)
        enough = self._enough(name, until, timeout_s)
        if self._app.run(name).run.status not in (RunStatus.FINISHED, RunStatus.CANCELLED):
            with self._alone(say):
                self._app.work(_listener(say or _nothing), enough)
        return self._outcome(name, until)

    def wait(
        self, run: str, *, until: Callable[[Document], bool] | None = None, timeout_s: float | None = None
    ) -> Document:
        """The same while another process, such as `relay daemon`, carries the run out: only looks, and needs no credentials."""
        name = self._id(run)
        enough = self._enough(name, until, timeout_s)
        while not enough():
            self._app.clock.sleep(LOOK_S)
        return self._outcome(name, until)

    # --- look ----------------------------------------------------------------

    def runs(self) -> list[str]:
        """The ids of all runs, oldest first."""
        return [run for run, _ in self._app.reader.roll()] if self._app.has_store else []

    def status(self, run: str | None = None) -> Document:
        """One run's document, or that of all runs and the quota: what docs/status.md describes. Needs no credentials."""
        app = self._app
        name = None if run is None else self._id(run)
        store = app.reader if app.has_store else None
        document = status_document(store, app.home.path, app.clock.now(), name, app.warnings())
        if name is None:
            return document
        found: Document = document["runs"][0]
        return found

    def curves(self, run: str, points_max: int = 500) -> dict[tuple[str, str], list[CurvePoint]]:
        """Each metric of each stage over its steps, by (stage, metric): points of `step`, `value`, and the `low` and `high` of
        the steps that a point stands for; never more than `points_max` a curve."""
        found: dict[tuple[str, str], list[CurvePoint]] = {}
        for point in self._app.reader.series(self._id(run), points_max):
            found.setdefault((point.stage, point.name), []).append(point)
        return found

    # --- ask the daemon ------------------------------------------------------

    def pause(self, run: str) -> None:
        """Let the session that runs come to its end, and start no other. Obeyed at the daemon's next turn, as are the others."""
        requests.pause(self._app, run)

    def resume(
        self, run: str, *, from_step: str | int | None = None, abandon_session: bool = False, take_over: bool = False
    ) -> None:
        """Go on with a parked or waiting run, from its newest verified checkpoint or from that at `STEP` or `STAGE:STEP`.

        With `abandon_session` nothing more is expected of the session on Kaggle, and the next one takes its place. With `take_over` it
        is this home folder that works on the run from now on, and any other one stops.
        """
        chosen = None if from_step is None else str(from_step)
        requests.resume(self._app, run, chosen, abandon_session=abandon_session, take_over=take_over)

    def retry(self, run: str, *, abandon_session: bool = False) -> None:
        """Try a parked run again after its cause was mended."""
        requests.retry(self._app, run, abandon_session=abandon_session)

    def cancel(self, run: str) -> None:
        """End a run. Its session on Kaggle, if any, goes on until it ends: Kaggle offers no way to stop it from outside."""
        requests.cancel(self._app, run)

    # --- inside --------------------------------------------------------------

    def _id(self, run: str) -> str:
        return self._app.run(run).run.id

    @contextlib.contextmanager
    def _alone(self, say: Say | None) -> Iterator[None]:
        """One daemon a home folder: the lease tells processes apart, and here the threads of this one are.

        What concerns no run alone is said too, or on standard error where nobody listens.
        """
        place = self.home.resolve()
        with _LOCK:
            if place in _WORKED_ON:
                raise BadInput(
                    f"another thread of this program carries out the runs of {place}: let this one wait(run)"
                )
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
        """Whether there is nothing more to wait for; a request that nobody has obeyed yet is worth waiting for."""
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


def _listener(say: Say) -> Callable[[str, Turn], None]:
    def listen(run: str, turn: Turn) -> None:
        for line in lines(turn):
            say(f"{run}  {line}")

    return listen


def _nothing(_sentence: str) -> None:
    """Where nobody wants to hear."""


@contextlib.contextmanager
def _private() -> Iterator[None]:
    """Whatever is written inside is its owner's alone, as with the commands."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
