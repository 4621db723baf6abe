"""Runs a stage of a pipeline for two steps and one save, without leaving a checkpoint in the session's output."""

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from stages.contract import Cursor, StageSpec
from stages.data.mounted import Brought, named_alone
from stages.data.pins import Pins
from stages.session import packing
from stages.session.time_accounting import TimeAccount, TimeClass
from stages.stage import Context, Next, OpenedCheckpoint, StageFailed, Write

STEPS = 2
"""Number of steps to measure: the first one loads and compiles, the second one is timed."""


class ShortContext:
    """Implementation of `stages.stage.Context` that ends a stage after STEPS steps and keeps its state in `folder`."""

    def __init__(
        self, outer: Context, spec: StageSpec, plan: Sequence[StageSpec], before: OpenedCheckpoint | None, folder: Path
    ) -> None:
        self.run = outer.run
        self.spec = spec
        self.plan = tuple(plan)
        self.model: Mapping[str, Any] = outer.model
        self.seed = outer.seed
        self.inputs = outer.inputs
        self.scratch = folder / "scratch"
        self.exports = folder / "exports"
        self.scratch.mkdir(parents=True)
        alone = named_alone(outer.brought.files, [stage.options for stage in plan])
        self.brought = Brought(outer.brought.files, outer.brought.datasets, alone)
        self.pins = Pins()
        self.checkpoint = before
        self.saved: OpenedCheckpoint | None = None
        """State that the stage saved at its end, as the next stage gets it."""
        self.steps_s: list[float] = []
        """Duration of each step; the first one includes everything since the stage began, later ones no compiling."""
        self.hold_s = self.save_s = self.checkpoint_bytes = 0.0
        began_s = time.monotonic()
        self.account = TimeAccount(lambda: time.monotonic() - began_s)
        self._folder, self._say, self._since_s, self._compiled_s = folder, outer.say, began_s, 0.0

    @property
    def start_step(self) -> int:
        """Number of steps done before: none, since each stage begins anew."""
        return 0

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        """Record a step's duration; returns STOP after STEPS steps."""
        now_s, compiled_s = time.monotonic(), self.account.spent_on(TimeClass.COMPILE)
        later_s = compiled_s - self._compiled_s if self.steps_s else 0.0
        self.steps_s.append(max(0.0, now_s - self._since_s - later_s))
        self._since_s, self._compiled_s = now_s, compiled_s
        if not math.isfinite(metrics.get("loss", 0.0)):
            raise StageFailed("not-a-number", f"the loss is {metrics['loss']} at step {step}")
        return Next.STOP if step >= min(STEPS, self.spec.steps) else Next.GO_ON

    def save(self, step: int, write: Write) -> None:
        """Write, pack and hash the state as a session does, and keep only what the next stage reads."""
        began_s = time.monotonic()
        state, blob = self._folder / "state", self._folder / "state.bin"
        state.mkdir()
        rest = write(state)
        self.hold_s = time.monotonic() - began_s
        digests = rest() if callable(rest) else rest
        self.checkpoint_bytes = float(packing.pack(state, blob).size_bytes)
        self.save_s = time.monotonic() - began_s
        blob.unlink()
        self.saved = OpenedCheckpoint(Cursor(stage=self.spec.name, step=step), state, contents=digests)
        self._since_s = time.monotonic()

    def doing(self, what: TimeClass) -> AbstractContextManager[None]:
        """Book the seconds within the `with` block under this class."""
        return self.account.doing(what)

    def may_compile(self, shapes: int) -> None:
        """Do nothing: there is no time limit to keep."""

    def say(self, text: str) -> None:
        """Write text for people to the log."""
        self._say(text)

    def saw(self, step: int, name: str, value: object) -> None:
        """Do nothing: a probe traces no values."""

    def clear(self) -> None:
        """Remove everything except the state for the next stage."""
        for folder in (self.scratch, self.exports):
            shutil.rmtree(folder, ignore_errors=True)
