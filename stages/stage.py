"""The interface between the runner and a stage: what a stage receives and what it must do.

A stage is a function `train(context)`. It restores its state from `context.checkpoint`, runs steps until the
target, and calls `context.step_done` after each one, which returns whether to continue, to save, or to save and
return. All state that the next step depends on goes through `context.save`, so a run that is interrupted
anywhere computes the same numbers:

    def train(context: Context) -> None:
        state = read(context.checkpoint)                      # resume, inherit or begin
        for step in range(context.start_step + 1, context.spec.steps + 1):
            state, metrics = one_step(state, step, context.seed)
            match context.step_done(step, metrics):
                case Next.SAVE:
                    context.save(step, lambda directory: write(state, directory))
                case Next.STOP:
                    context.save(step, lambda directory: write(state, directory))
                    return

`step_done` returns STOP at the target too, so the last step of a stage is always saved, and the next stage always
starts from the files of that checkpoint, in the same session or in another one.

Training waits for `write` to return. `write` may return a function, which runs in the background during the next steps:

    def write(directory):
        held = copy_of(state)                                 # a copy, because the next step changes the state
        return lambda: write_all(held, directory)             # runs in a background thread; returns the digests
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages.contract import Cursor, StageSpec
from stages.numerics import Numerics
from stages.session.time_accounting import TimeClass

if TYPE_CHECKING:  # both modules import StageFailed from here
    from stages.data.mounted import Brought
    from stages.data.pins import Pins

Digests = Mapping[str, str]
"""Digests of contents: name → SHA-256 in hex."""
Write = Callable[[Path], Digests | Callable[[], Digests]]
"""Function that writes everything into an empty directory and returns the digests, or returns a function that finishes
writing in the background and returns the digests. That function must not read anything that the next step changes. Of
several processes each calls it, with the same directory, and the digests that the first one returns count."""


class Next(StrEnum):
    """Action to take after a step."""

    GO_ON = "go_on"
    SAVE = "save"
    STOP = "stop"


class StageFailed(Exception):
    """Raised when training cannot go on.

    `cause` is a short stable key (`not-a-number`, `accelerator-missing`); `transient` means
    that another attempt may succeed.
    """

    def __init__(self, cause: str, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.transient = transient


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A verified, unpacked checkpoint: `directory` holds the files that a stage's `Write` wrote at `cursor`.

    `digest` is that of its manifest, and `contents` are the manifest's digests. `warm` is true for a checkpoint of
    another run of which only weights, or weights and optimizer state, are taken over.
    """

    cursor: Cursor
    directory: Path
    digest: str = ""
    contents: Mapping[str, str] = field(default_factory=dict)
    warm: bool = False
    numerics: Numerics | None = None
    """Record of what determined the checkpoint's bits; None if it has none."""


class Context(Protocol):
    """Interface that the runner passes to a stage."""

    run: str
    """Id of the run."""
    spec: StageSpec
    plan: tuple[StageSpec, ...]
    """All stages of the pipeline, including this one."""
    model: Mapping[str, Any]
    seed: int
    inputs: Path
    """Kaggle's `/kaggle/input`. Its layout varies, so search it recursively."""
    scratch: Path
    """Directory on fast local disk; it is lost when the session ends."""
    exports: Path
    """Directory of the session's output for exported models; it may not exist yet. Checkpoints do not contain it."""
    brought: "Brought"
    """Data files and datasets that the pipeline names; they take precedence over everything else that is mounted."""
    pins: "Pins"
    """Record of what the run has read of its data sets; restored from `checkpoint` and
    stored in every new checkpoint."""
    checkpoint: OpenedCheckpoint | None
    """Checkpoint to start from: of this stage (resume), of the stage before it (inherit), or None (begin)."""

    @property
    def start_step(self) -> int:
        """Number of steps of this stage that are already done; 0 unless the checkpoint is of this stage."""

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        """Report that `step` (counted from 1) is finished; its results must be ready on the
        device, not merely dispatched.

        Emits a progress event and returns the next action. Raises StageFailed if a metric named `loss`, `grad_norm` or
        `kl` is not finite; a checkpoint of the previous step is then withdrawn.
        """

    def save(self, step: int, write: Write) -> None:
        """Save a checkpoint of this stage at `step`; it is complete or absent even if the process is killed meanwhile.

        Packing, hashing and the function returned by `write` run in the background during the next steps; a
        save that is still in progress is waited for first. Errors of the background part are raised by the
        next call of a context method.
        """

    def doing(self, what: TimeClass) -> AbstractContextManager[None]:
        """Book the session's seconds within the `with` block under this class (`with context.doing(TimeClass.DATA):
        ...`) instead of the step's class."""

    def may_compile(self, shapes: int) -> None:
        """Tell for how many shapes of its arrays the stage may still compile its programs in this session.

        While there are any, the session keeps time for a step that compiles, so that it ends before its time is over.
        Compiling in a stage's first step needs no telling.
        """

    def say(self, text: str) -> None:
        """Write text for people to the kernel's log."""

    def saw(self, step: int, name: str, value: object) -> None:
        """Record an input of a step (`batch`, `rollouts`, …) before `step_done`; `relay
        verify-resume` compares the records.

        `value` is made of arrays, text, numbers, dataclasses, and lists and mappings of them, or a function that
        returns such a value, which is called only while tracing.
        """
