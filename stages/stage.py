"""What a stage is given and what it has to do: the port between the runner and every kind of training.

A stage is a function `train(context)`. It takes the state that `context.checkpoint` holds, does steps until the target,
and calls `context.step_done` after each one. The answer says whether to go on, to save, or to save and return. All state
that the next step depends on goes through `context.save`, so a run that is cut anywhere computes the same numbers:

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

`step_done` answers STOP at the target too, so the last step of a stage is always saved, and the next stage always starts
from the files of that checkpoint, whether in the same session or in another one.

What `write` does itself, the training waits for. What it returns to be called later goes on beside the steps that follow:

    def write(directory):
        held = copy_of(state)                                 # as it is now: the next step changes it
        return lambda: write_all(held, directory)             # in a thread of its own; returns the digests
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages.contract import Cursor, StageSpec
from stages.session.time_accounting import TimeClass

if TYPE_CHECKING:  # both need StageFailed
    from stages.data.mounted import Brought
    from stages.data.pins import Pins

Digests = Mapping[str, str]
"""Of contents: name → SHA-256 in hex."""
Write = Callable[[Path], Digests | Callable[[], Digests]]
"""Writes everything into an empty directory and returns the digests, or something that does the rest beside the training and
returns them then. The rest must not look at anything that the next step changes."""


class Next(StrEnum):
    """What to do after a step."""

    GO_ON = "go_on"
    SAVE = "save"
    STOP = "stop"


class StageFailed(Exception):
    """Training cannot go on.

    `cause` is a short stable key (`not-a-number`, `accelerator-missing`); `transient` says that trying again may help.
    """

    def __init__(self, cause: str, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.transient = transient


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A verified checkpoint, unpacked: `directory` holds what a stage's `Write` wrote when it stood at `cursor`."""

    cursor: Cursor
    directory: Path


class Context(Protocol):
    """What the runner gives a stage."""

    spec: StageSpec
    plan: tuple[StageSpec, ...]
    """All stages of the pipeline, this one among them."""
    model: Mapping[str, Any]
    seed: int
    inputs: Path
    """Kaggle's `/kaggle/input`: walk it, its layout varies."""
    scratch: Path
    """Fast local disk that is lost with the session."""
    brought: "Brought"
    """The data files and datasets that the pipeline names: what is taken before anything else that is mounted."""
    pins: "Pins"
    """What the run has read of its data sets; `checkpoint` tells it, and every checkpoint passes it on."""
    checkpoint: OpenedCheckpoint | None
    """Of this stage (resume), of the stage before it (inherit), or None (begin)."""

    @property
    def start_step(self) -> int:
        """Steps of this stage that are already done: 0 unless the checkpoint is of this stage."""

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        """Tell that `step` (counted from 1) is finished; its results must be ready on the device, not just dispatched.

        Emits a progress event and answers what to do now. Raises StageFailed when a metric named `loss`, `grad_norm` or `kl` is
        not finite; a checkpoint of the step before is withdrawn then.
        """

    def save(self, step: int, write: Write) -> None:
        """Make a checkpoint of this stage at `step`; whole or absent even if the process is killed meanwhile.

        Packing and hashing it, and what `write` left for later, goes on beside the next steps; one that is still under way is
        waited for first. What goes wrong is raised by the next call of the context.
        """

    def doing(self, what: TimeClass) -> AbstractContextManager[None]:
        """Until it ends, the session's seconds are of this class (`with context.doing(Spent.DATA): ...`); else they are the step's."""

    def say(self, text: str) -> None:
        """One line for people in the kernel's log."""

    def saw(self, step: int, name: str, value: object) -> None:
        """What a step is made of (`batch`, `rollouts`, …), told before `step_done`: compared when resume is verified.

        Arrays, text, numbers, data classes, and lists and mappings of them; or something to call that gives one, which is
        called only where anybody compares.
        """
