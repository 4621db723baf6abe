"""Sends metrics to TensorBoard's files and Weights & Biases, whichever are available, besides the session's own log.

Neither may disturb training: an error of a sink is logged once, and the sink is not used again. A step that a killed
session did and a later session repeats gives the same numbers, so readers need to see each step only once.
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
from stages.session.duration_text import duration

TENSORBOARD_DIRECTORY = "tensorboard"
"""Folder below `/kaggle/working` with one subfolder per stage, so that stages can be shown together or separately."""
WANDB_KEY = "WANDB_API_KEY"
WANDB_PROJECT = "relay"
WANDB_S_MAX = 60.0
"""Longest wait for Weights & Biases to start, in seconds, so that a session without internet does not hang."""


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of one step. `position` counts steps from the beginning of the pipeline, over all its stages."""

    stage: str
    step: int
    position: int
    values: Mapping[str, float]


class Sink(Protocol):
    """Receiver of metrics. An exception removes the sink, but does not end the session."""

    name: str

    def write(self, point: StepMetrics) -> None:
        """Write one step's metrics; called once per step, in order."""

    def flush(self) -> None:
        """Persist everything written so far, so that it survives if the process is killed."""

    def close(self) -> None:
        """Close the sink; no other method is called afterwards."""


class Metrics:
    """Passes every step's metrics to the sinks, which are opened when the first step is done."""

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
        """Write the metrics of one step of a stage to all sinks."""
        if self._sinks is None:
            self._sinks = list(self._open_sinks())
        point = StepMetrics(stage, step, self._before.get(stage, 0) + step, values)
        self._each(lambda sink: sink.write(point))

    def flush(self) -> None:
        """Flush all sinks; called when a checkpoint is saved, since the steps before it will not be repeated."""
        self._each(lambda sink: sink.flush())

    def close(self) -> None:
        """Close all sinks at the end of the session."""
        self._each(lambda sink: sink.close())
        self._sinks = []

    def _each(self, call: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks or ()):
            try:
                call(sink)
            except Exception as error:  # noqa: BLE001 - a failing sink must not end the session
                self._say(f"no more metrics for {sink.name}: {_error_text(error)}")
                assert self._sinks is not None
                self._sinks.remove(sink)


def sinks_of(order: Order, working: Path, scratch: Path, say: Callable[[str], None]) -> list[Sink]:
    """Open the sinks that are available on this machine."""
    found: list[Sink] = []
    for name, open_one in (
        ("TensorBoard", lambda: TensorBoard.found(order, working, say)),
        ("Weights & Biases", lambda: WeightsAndBiases.found(order, scratch)),
    ):
        try:
            sink = open_one()
        except Exception as error:  # noqa: BLE001 - a failing sink must not end the session
            say(f"no metrics for {name}: {_error_text(error)}")
            continue
        found += [sink] if sink is not None else []
    return found


def _steps_before(order: Order) -> dict[str, int]:
    """Return the number of steps of all earlier stages, by stage."""
    counted, before = 0, {}
    for spec in order.stages:
        before[spec.name] = counted
        counted += spec.steps
    return before


def _error_text(error: Exception) -> str:
    return " ".join(failure_report.without_secrets(f"{type(error).__name__}: {error}").split())


class TensorBoard:
    """TensorBoard sink with one event file per stage and session.

    Each file begins with `SessionLog.START`, which makes TensorBoard drop the same and later steps of earlier files in
    the folder (as `purge_step` of its writers does). tensorboardX's own writer passes events to a thread, and its flush
    does not wait for that thread; this class therefore uses its file format directly.
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
        """Return the sink, or log a line and return None if tensorboardX is not installed."""
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
    """Weights & Biases sink: one W&B run for all sessions of a relay run. W&B ignores steps that it already has."""

    name = "Weights & Biases"

    def __init__(self, order: Order, scratch: Path) -> None:
        self._wandb: Any = importlib.import_module("wandb")
        os.environ.setdefault("WANDB_CONSOLE", "off")  # the console log goes to Kaggle, where relay reads it
        os.environ.setdefault("WANDB_SILENT", "true")
        config = {"seed": order.seed, "model": order.model, "stages": [spec.to_dict() for spec in order.stages]}
        _call_within(
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
        """Return the sink, or None if there is no API key or `wandb` is not installed."""
        if importlib.util.find_spec("wandb") is None or not _key():
            return None
        return cls(order, scratch)

    def write(self, point: StepMetrics) -> None:
        self._wandb.log({f"{point.stage}/{tag}": value for tag, value in point.values.items()}, step=point.position)

    def flush(self) -> None:
        """Do nothing: W&B uploads by itself."""

    def close(self) -> None:
        _call_within(WANDB_S_MAX / 2, self._wandb.finish)


def _key() -> str:
    """Return the API key from the environment or Kaggle's secrets, stored in the environment so that
    `without_secrets` hides it."""
    if not os.environ.get(WANDB_KEY) and importlib.util.find_spec("kaggle_secrets") is not None:
        secrets: Any = importlib.import_module("kaggle_secrets")
        try:
            os.environ[WANDB_KEY] = secrets.UserSecretsClient().get_secret(WANDB_KEY)
        except Exception:  # noqa: BLE001 - its errors for a missing secret have no common class
            return ""
    return os.environ.get(WANDB_KEY, "")


def _call_within(seconds: float, call: Callable[[], object]) -> None:
    """Call a function that may wait for the network; raises TimeoutError if it takes longer, and leaves it running."""
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
        raise TimeoutError(f"no answer within {duration(seconds)}")
    if raised:
        raise raised[0]
