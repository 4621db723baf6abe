"""Runs the stages one after the other: finds the newest checkpoint, watches the deadline, saves, and shows each step.

A stage always starts from the files of a checkpoint, never from what another stage left in memory. So the numbers are
the same, bit for bit, wherever a session ends and the next one goes on.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stages.contract import MANIFEST_NAME, OUTPUT_DIRECTORY, Cursor, StageSpec
from stages.data.mounted import Brought, named_alone
from stages.data.pins import Pins
from stages.session.time_accounting import TimeClass
from stages.stage import Context, Next, OpenedCheckpoint, StageFailed, Write

FINITE = ("loss", "grad_norm", "kl")
"""Metrics that must be finite: if one is not, the weights after that step are not finite either."""
METRICS_NAME = "metrics.jsonl"
"""File of a checkpoint with the metrics of all steps so far."""
SHOWN = ("loss", "reward", "accuracy", "format", "kl", "grad_norm", "learning_rate", "mean_length", "hard")
"""Metrics in the printed line of a step; a checkpoint holds all of them."""
MEASURING = ("curate", "evaluate")
"""Kinds of stages that leave the weights as they are."""
SHOW_EVERY_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that the numbers depend on, besides the versions of the packages and the kind of accelerator."""

    name: str
    seed: int
    model: Mapping[str, Any]
    stages: tuple[StageSpec, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each attached data file, by file name."""
    datasets: tuple[str, ...] = ()
    """Attached Kaggle datasets, as `owner/slug`."""

    def place(self, name: str) -> int:
        """Return the position of a stage among the stages."""
        return [stage.name for stage in self.stages].index(name)

    def digest(self, place: int) -> str:
        """Return the SHA-256 of all that the stages up to this one depend on: later stages may still be changed."""
        known = {"seed": self.seed, "model": self.model, "files": self.files, "datasets": self.datasets}
        text = json.dumps({**known, "stages": [asdict(stage) for stage in self.stages[: place + 1]]}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(kw_only=True)
class Training:
    """Training of one experiment in this session."""

    experiment: Experiment
    inputs: Path
    working: Path
    scratch: Path
    deadline_s: float
    """Time by which everything has to be saved, on the clock of `time.monotonic`."""
    save_interval_s: float
    model_folder: str = ""
    """Folder with the model's files, if they are not below `inputs`."""
    checkpoint: OpenedCheckpoint | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Stage, step and metrics of each step, also of earlier sessions."""
    seconds: dict[TimeClass, float] = field(default_factory=dict)
    steps: int = 0
    """Number of steps that this session did."""
    longest_s: float = 0.0
    saved_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self._newest()
        if self.checkpoint is None:
            print("No checkpoint of this experiment is mounted: training begins.")
            return
        lines = (self.checkpoint.directory / METRICS_NAME).read_text(encoding="utf-8").splitlines()
        self.rows = [json.loads(line) for line in lines]
        cursor = self.checkpoint.cursor
        print(f"Going on after step {cursor.step} of {cursor.stage}, from {self.checkpoint.directory}.")

    @property
    def is_late(self) -> bool:
        """True if another step might not end in time. A session that has done no step yet is never late."""
        return self.steps > 0 and time.monotonic() + self.longest_s >= self.deadline_s

    @property
    def is_finished(self) -> bool:
        """True if all steps of all stages are done."""
        last = self.experiment.stages[-1]
        return self._position(self.checkpoint) == (len(self.experiment.stages) - 1, last.steps)

    @property
    def has_trained(self) -> bool:
        """True if the newest checkpoint holds weights that at least one step has trained."""
        begun = 0 if self.checkpoint is None else self._position(self.checkpoint)[0] + 1
        return any(stage.kind not in MEASURING for stage in self.experiment.stages[:begun])

    def run(self, name: str, train: Callable[[Context], None]) -> None:
        """Run a stage to its end, or until the time is up; do nothing if it is done, or if one before it is not."""
        place = self.experiment.place(name)
        spec = self.experiment.stages[place]
        begun, step = self._position(self.checkpoint)
        if (begun, step) >= (place, spec.steps):
            print(f"{name}: done ({spec.steps} steps).")
        elif place > 0 and begun < place and not self._ended(place - 1) and not self.is_late:
            print(f"{name}: the stage before it is not finished.")
        elif self.is_late:
            print(f"{name}: the time of this session is up. Run the notebook again, with its own output as an input.")
        else:
            train(self.context(spec))

    def context(self, spec: StageSpec) -> "NotebookContext":
        """Return what a stage starts from."""
        return NotebookContext(self, spec)

    def show_time(self) -> None:
        """Print what this session's time was spent on."""
        for what, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            print(f"{seconds / 60:8.1f} min  {what.value}")

    def _ended(self, place: int) -> bool:
        return self._position(self.checkpoint) == (place, self.experiment.stages[place].steps)

    def _position(self, checkpoint: OpenedCheckpoint | None) -> tuple[int, int]:
        return (
            (0, 0) if checkpoint is None else (self.experiment.place(checkpoint.cursor.stage), checkpoint.cursor.step)
        )

    def _newest(self) -> OpenedCheckpoint | None:
        """Return the checkpoint that is furthest on, of this notebook's output or of an input."""
        found = [
            opened
            for root in (self.working, self.inputs)
            for path in sorted(root.rglob(f"{OUTPUT_DIRECTORY}/*/{MANIFEST_NAME}"))
            if (opened := self._opened(path)) is not None
        ]
        return max(found, key=self._position, default=None)

    def _opened(self, manifest: Path) -> OpenedCheckpoint | None:
        """Open a checkpoint; None if it is of another experiment, or of another program."""
        try:
            about = json.loads(manifest.read_text(encoding="utf-8"))
            if about["experiment"] != self.experiment.digest(self.experiment.place(about["stage"])):
                return None
        except (ValueError, KeyError, TypeError):
            return None
        cursor = Cursor(stage=about["stage"], step=about["step"])
        return OpenedCheckpoint(cursor, manifest.parent, contents=about["digests"])


class NotebookContext:
    """Part of the notebook that a stage sees."""

    def __init__(self, training: Training, spec: StageSpec) -> None:
        experiment = training.experiment
        self.run = experiment.name
        self.spec = spec
        self.plan = experiment.stages
        self.model = (
            {**experiment.model, "source": training.model_folder} if training.model_folder else experiment.model
        )
        self.seed = experiment.seed
        self.inputs = training.inputs
        self.scratch = training.scratch
        self.exports = training.working / "exports"
        alone = named_alone(experiment.files, [stage.options for stage in experiment.stages])
        self.brought = Brought(experiment.files, experiment.datasets, alone)
        self.pins = Pins()  # filled from the checkpoint
        self.checkpoint = training.checkpoint
        self._training = training
        self._since_s = time.monotonic()
        self._shown_s = 0.0
        self._doing: list[TimeClass] = [TimeClass.OTHER]
        self._booked_s = self._since_s

    @property
    def start_step(self) -> int:
        """Number of steps of this stage that the checkpoint contains."""
        if self.checkpoint is None or self.checkpoint.cursor.stage != self.spec.name:
            return 0
        return self.checkpoint.cursor.step

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        """Show a step, and return whether to go on, to save, or to save and stop."""
        training, now_s = self._training, time.monotonic()
        wrong = [name for name in FINITE if not math.isfinite(metrics.get(name, 0.0))]
        if wrong:
            raise StageFailed("not-a-number", f"{wrong[0]} of {self.spec.name} is not finite at step {step}")
        if step > self.start_step + 1:  # the first step of a stage mostly compiles
            training.longest_s = max(training.longest_s, now_s - self._since_s)
        self._since_s = now_s
        training.steps += 1
        training.rows.append({"stage": self.spec.name, "step": step, **metrics})
        ends = step == self.spec.steps or training.is_late
        if ends or now_s - self._shown_s >= SHOW_EVERY_S:
            self._shown_s = now_s
            print(f"{self.spec.name} {step}/{self.spec.steps}  {_line(metrics)}")
        if ends:
            return Next.STOP
        return Next.SAVE if now_s - training.saved_s >= training.save_interval_s else Next.GO_ON

    def save(self, step: int, write: Write) -> None:
        """Write a checkpoint to a folder of its own, name it when it is complete, and remove the one before it."""
        training = self._training
        with self.doing(TimeClass.SAVE):
            place = training.working / OUTPUT_DIRECTORY
            partial, final = place / "partial", place / f"{self.spec.name}-{step:06d}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            rest = write(partial)
            digests = rest() if callable(rest) else rest
            _write_rows(partial / METRICS_NAME, training.rows)
            about = {
                "experiment": training.experiment.digest(training.experiment.place(self.spec.name)),
                "stage": self.spec.name,
                "step": step,
                "digests": dict(digests),
            }
            (partial / MANIFEST_NAME).write_text(json.dumps(about, indent=1), encoding="utf-8")
            partial.rename(final)
            for older in sorted(place.iterdir()):
                if older != final:
                    shutil.rmtree(older)
        training.checkpoint = OpenedCheckpoint(Cursor(stage=self.spec.name, step=step), final, contents=digests)
        training.saved_s = self._since_s = time.monotonic()

    @contextmanager
    def doing(self, what: TimeClass) -> Iterator[None]:
        """Count the seconds of the `with` block under this class, except those of a block within it."""
        self._book()
        self._doing.append(what)
        try:
            yield
        finally:
            self._book()
            self._doing.pop()

    def may_compile(self, shapes: int) -> None:
        """Do nothing: a notebook keeps no time for compiling."""

    def say(self, text: str) -> None:
        """Print a text."""
        print(text)

    def saw(self, step: int, name: str, value: object) -> None:
        """Keep nothing of a step's inputs."""

    def _book(self) -> None:
        now_s, what = time.monotonic(), self._doing[-1]
        self._training.seconds[what] = self._training.seconds.get(what, 0.0) + now_s - self._booked_s
        self._booked_s = now_s


def _line(metrics: Mapping[str, float]) -> str:
    """Format the metrics worth watching; all of them for a stage that has none of these."""
    names = [name for name in SHOWN if name in metrics] or list(metrics)
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in names)


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
