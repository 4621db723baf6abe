"""Where metrics go besides the session's own log: TensorBoard's files and Weights & Biases, whichever of them is here.

Both are for looking at, so neither may cost the training anything: what goes wrong with one is said once, and then it is left
alone. A step that a killed session had done and a later one does again computes the same numbers, so it is enough that
a reader sees each step once.
"""

import importlib
import importlib.util
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.contract import Order
from stages.session import failure_report

TENSORBOARD_DIRECTORY = "tensorboard"
"""Below `/kaggle/working`, a folder a stage, so that they can be shown together or apart."""
WANDB_KEY = "WANDB_API_KEY"
WANDB_PROJECT = "relay"
WANDB_S_MAX = 60.0
"""To begin and to end with Weights & Biases: a session without internet must not wait for it."""


@dataclass(frozen=True)
class StepMetrics:
    """What a step measured. `position` counts steps from the pipeline's beginning, over all of its stages."""

    stage: str
    step: int
    position: int
    values: Mapping[str, float]


class Sink(Protocol):
    """Takes metrics. Whatever it raises ends the sink, not the session."""

    name: str

    def write(self, point: StepMetrics) -> None:
        """Take one step's metrics; each step comes once, in order."""

    def flush(self) -> None:
        """Nothing that was written may be lost when the process is killed from now on."""

    def close(self) -> None:
        """The last call."""


class Metrics:
    """Hands every step's metrics to the sinks that `open_sinks` finds when the first step is done."""

    def __init__(
        self,
        order: Order | None = None,
        open_sinks: Callable[[], Sequence[Sink]] = tuple,
        say: Callable[[str], None] = print,
    ) -> None:
        self._before = _steps_before(order) if order else {}
        self._open_sinks = open_sinks
        self._say = say
        self._sinks: list[Sink] | None = None

    def step_done(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """One step of a stage was measured."""
        if self._sinks is None:
            self._sinks = list(self._open_sinks())
        point = StepMetrics(stage, step, self._before.get(stage, 0) + step, values)
        self._each(lambda sink: sink.write(point))

    def flush(self) -> None:
        """Called when a checkpoint was saved: what led to it is not done again."""
        self._each(lambda sink: sink.flush())

    def close(self) -> None:
        """The session is over."""
        self._each(lambda sink: sink.close())
        self._sinks = []

    def _each(self, call: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks or ()):
            try:
                call(sink)
            except Exception as error:  # noqa: BLE001 - no curve is worth a session
                self._say(f"no more metrics for {sink.name}: {_words(error)}")
                assert self._sinks is not None
                self._sinks.remove(sink)


def sinks_of(order: Order, working: Path, scratch: Path, say: Callable[[str], None]) -> list[Sink]:
    """The sinks that this machine and its environment offer."""
    found: list[Sink] = []
    for name, open_one in (
        ("TensorBoard", lambda: TensorBoard.found(order, working, say)),
        ("Weights & Biases", lambda: WeightsAndBiases.found(order, scratch)),
    ):
        try:
            sink = open_one()
        except Exception as error:  # noqa: BLE001 - as above
            say(f"no metrics for {name}: {_words(error)}")
            continue
        found += [sink] if sink is not None else []
    return found


def _steps_before(order: Order) -> dict[str, int]:
    """Steps of all earlier stages, by stage."""
    counted, before = 0, {}
    for spec in order.stages:
        before[spec.name] = counted
        counted += spec.steps
    return before


def _words(error: Exception) -> str:
    return " ".join(failure_report.without_secrets(f"{type(error).__name__}: {error}").split())


class TensorBoard:
    """One file of events a stage and session.

    It begins with the mark that makes TensorBoard drop what earlier files of the folder hold of the same steps and later ones
    (`SessionLog.START`, what `purge_step` of its writers does). tensorboardX's own writer hands events to a thread, and
    flushing it leaves behind what the thread has not come to: its file format is used here without the thread.
    """

    name = "TensorBoard"

    def __init__(self, root: Path, suffix: str) -> None:
        self._root, self._suffix = root, suffix
        self._files: Any = importlib.import_module("tensorboardX.event_file_writer")
        self._events: Any = importlib.import_module("tensorboardX.proto.event_pb2")
        self._summaries: Any = importlib.import_module("tensorboardX.proto.summary_pb2")
        self._writers: dict[str, Any] = {}

    @classmethod
    def found(cls, order: Order, working: Path, say: Callable[[str], None]) -> "TensorBoard | None":
        """The sink, or None, and a line about it, where tensorboardX is not installed."""
        if importlib.util.find_spec("tensorboardX") is None:
            say("no files for TensorBoard: tensorboardX is not installed here")
            return None
        return cls(working / TENSORBOARD_DIRECTORY, f".s{order.session:04d}-{order.attempt}")

    def write(self, point: StepMetrics) -> None:
        values = [self._summaries.Summary.Value(tag=tag, simple_value=value) for tag, value in point.values.items()]
        writer = self._writer(point)
        writer.write_event(self._event(point, summary=self._summaries.Summary(value=values)))

    def flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, point: StepMetrics) -> Any:
        if point.stage not in self._writers:
            folder = self._root / point.stage
            folder.mkdir(parents=True, exist_ok=True)
            writer = self._files.EventsWriter(str(folder / "events"), self._suffix)
            self._writers[point.stage] = writer
            start = self._events.SessionLog(status=self._events.SessionLog.START)
            writer.write_event(self._event(point, session_log=start))
        return self._writers[point.stage]

    def _event(self, point: StepMetrics, **content: Any) -> Any:
        return self._events.Event(wall_time=time.time(), step=point.position, **content)


class WeightsAndBiases:
    """One W&B run for all sessions of a relay run; W&B itself leaves out steps that it has already."""

    name = "Weights & Biases"

    def __init__(self, order: Order, scratch: Path) -> None:
        self._wandb: Any = importlib.import_module("wandb")
        os.environ.setdefault("WANDB_CONSOLE", "off")  # the log goes to Kaggle, and relay reads it there
        os.environ.setdefault("WANDB_SILENT", "true")
        config = {"seed": order.seed, "model": order.model, "stages": [spec.to_dict() for spec in order.stages]}
        _within(
            WANDB_S_MAX,
            lambda: self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", WANDB_PROJECT),
                id=order.run,
                name=order.run,
                resume="allow",
                dir=str(scratch),
                config=config,
            ),
        )

    @classmethod
    def found(cls, order: Order, scratch: Path) -> "WeightsAndBiases | None":
        """The sink, or None where there is no key or no `wandb`."""
        if importlib.util.find_spec("wandb") is None or not _key():
            return None
        return cls(order, scratch)

    def write(self, point: StepMetrics) -> None:
        self._wandb.log({f"{point.stage}/{tag}": value for tag, value in point.values.items()}, step=point.position)

    def flush(self) -> None:
        """W&B sends by itself."""

    def close(self) -> None:
        _within(WANDB_S_MAX / 2, self._wandb.finish)


def _key() -> str:
    """The key from the environment or from Kaggle's secrets, kept where `without_secrets` looks for what to hide."""
    if not os.environ.get(WANDB_KEY) and importlib.util.find_spec("kaggle_secrets") is not None:
        secrets: Any = importlib.import_module("kaggle_secrets")
        try:
            os.environ[WANDB_KEY] = secrets.UserSecretsClient().get_secret(WANDB_KEY)
        except Exception:  # noqa: BLE001 - its ways of saying that there is no such secret have no common name
            return ""
    return os.environ.get(WANDB_KEY, "")


def _within(seconds: float, call: Callable[[], object]) -> None:
    """Do something that may wait for a network; TimeoutError where it takes longer, and then nobody waits for it."""
    raised: list[Exception] = []

    def attempt() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - raised again below
            raised.append(error)

    thread = threading.Thread(target=attempt, name="wandb", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    if raised:
        raise raised[0]
