"""Small values that a stage gets, and the interface `Context`.

A stage is a function `train(context)`. It restores its state from `context.checkpoint`, runs steps until the target, and
calls `context.step_done` after each one, which returns whether to go on, to save, or to save and return.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

ARTIFACTS_DIRECTORY = "artifacts"
"""Folder of a checkpoint with readable texts: transcripts of evaluations, lists of hard problems."""
MANIFEST_NAME = "checkpoint.json"
"""File that marks a complete checkpoint: it is written last."""
OUTPUT_DIRECTORY = "checkpoints"
"""Folder of the notebook's output with its checkpoints."""
STAND_IN = "ZERO_COST_STAND_IN"
"""Environment variable that allows a small model in the place of a large one if it is 1, to try the notebook."""
STAND_IN_METRIC = "stand_in_"
VERDICTS = "verdicts-{stage}.jsonl"
"""File name of an evaluation's verdict on each answer."""

Digests = Mapping[str, str]
"""Digests of contents: name → SHA-256 in hex."""
Write = Callable[[Path], Digests | Callable[[], Digests]]
"""Function that copies a state and returns the function that writes the copy into an empty directory."""


class TimeClass(StrEnum):
    """Uses of a session's time."""

    STEP = "training"
    ROLLOUT = "generating completions"
    EVALUATION = "evaluating"
    MODEL = "loading the model"
    RESTORE = "restoring checkpoints"
    DATA = "preparing data"
    SAVE = "saving checkpoints"
    OTHER = "other"


class Next(StrEnum):
    """Action to take after a step."""

    GO_ON = "go_on"
    SAVE = "save"
    STOP = "stop"


class StageFailed(Exception):
    """Raised when training cannot go on; `cause` is a short key, such as `not-a-number`.

    With `transient` another attempt may succeed.
    """

    def __init__(self, cause: str, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.transient = transient


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """Position in the pipeline: `step` steps of `stage` are done."""

    stage: str
    step: int


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """Stage of the pipeline: its name, its kind, its number of steps, and the options of its kind."""

    name: str
    kind: str
    steps: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OpenedCheckpoint:
    """Checkpoint to start from: `directory` holds what a stage wrote at `cursor`."""

    cursor: Cursor
    directory: Path
    digest: str = ""
    contents: Mapping[str, str] = field(default_factory=dict)
    warm: bool = False
    """True if it belongs to another training, of which only weights are taken; never in this notebook."""


class Context(Protocol):
    """Everything that a stage may use of what surrounds it."""

    run: str
    spec: StageSpec
    plan: tuple[StageSpec, ...]
    """All stages of the pipeline, including this one."""
    model: Mapping[str, Any]
    seed: int
    inputs: Path
    """Kaggle's `/kaggle/input`. Its layout varies, so it is searched."""
    scratch: Path
    """Directory for files that need not last."""
    exports: Path
    brought: Any
    """Data files and datasets that the pipeline names (`Brought`)."""
    pins: Any
    """Record of what was read of the data sets (`Pins`); every checkpoint holds it."""
    checkpoint: OpenedCheckpoint | None
    """Checkpoint to start from: of this stage (resume), of the stage before it (inherit), or None (begin)."""

    @property
    def start_step(self) -> int:
        """Number of steps of this stage that are already done."""

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        """Report that `step` (counted from 1) is computed, and return what to do next."""

    def save(self, step: int, write: Write) -> None:
        """Save a checkpoint of this stage at `step`: complete or not at all."""

    def doing(self, what: TimeClass) -> AbstractContextManager[None]:
        """Count the seconds within the `with` block under this class."""

    def may_compile(self, shapes: int) -> None:
        """Take note of the number of shapes that later steps may compile for."""

    def say(self, text: str) -> None:
        """Print a text."""

    def saw(self, step: int, name: str, value: object) -> None:
        """Take note of a step's input; a notebook keeps none."""
