"""The runner's implementation of the stage interface: counts steps, checks the time budget and saves checkpoints."""

import math
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from stages import catalog
from stages.contract import Cursor, Manifest, Order, StageReport, StageSpec
from stages.data.mounted import Brought, named_alone
from stages.data.pins import Pins
from stages.session import parent_checkpoint, throughput
from stages.session.async_checkpointer import SavedCheckpoint, Saver
from stages.session.budget import Budget
from stages.session.duration_text import duration
from stages.session.hosts import Hosts
from stages.session.metrics import Metrics
from stages.session.peak_memory import PeakMemory
from stages.session.progress import Log
from stages.session.session_output import Output
from stages.session.time_accounting import TimeAccount, TimeClass
from stages.session.tracing import Trace
from stages.stage import Digests, Next, OpenedCheckpoint, StageFailed, Write

FINITE = ("loss", "grad_norm", "kl")
"""Metrics that must be finite: if one is not, the weights after that step are not finite either."""
ACCOUNT_S_MAX = 60.0
"""Longest interval, in seconds, between `account` events: a killed session leaves no
report with its seconds by class."""
ACCOUNTS = 100
"""Number of `account` events in a session whose budget is shorter than ACCOUNTS × ACCOUNT_S_MAX."""


@dataclass
class RunningSession:
    """Mutable state of a running session."""

    order: Order
    inputs: Path
    scratch: Path
    clock: Callable[[], float]
    """Clock that returns the seconds since the kernel's process started."""
    log: Log
    output: Output
    budget: Budget
    account: TimeAccount
    reached: Cursor
    checkpoint: Manifest | None = None
    """Manifest of the newest checkpoint that this session saved."""
    stages: dict[str, StageReport] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    hosts: Hosts = field(default_factory=Hosts)
    """This process among those of the session."""
    failing: bool = False
    """True once this process has failed by itself."""
    told_to_stop: str = ""
    """Reason why the session was asked from outside to end at the next step; empty if it was not."""
    trace: Trace | None = None
    """Recorder of each step's exact values, if the order requests a trace."""
    metrics: Metrics = field(default_factory=Metrics)
    """Sinks that receive each step's metrics besides the log."""
    saver: Saver = field(default_factory=Saver)
    pins: list[Pins] = field(default_factory=list)
    """Pins of each stage that this session has begun."""
    memory: PeakMemory = field(default_factory=PeakMemory)
    accounted_s: float = 0.0
    """Time of the last `account` event on the session's clock."""

    def writing(self, step: int) -> Path:
        """Return the folder in which a checkpoint is built: one that all processes see, if there are several."""
        shared = self.hosts.folder
        return self.scratch / "writing" if shared is None else shared / f"writing-{step}"

    @property
    def cut(self) -> str:
        """Reason for ending at the order's `stop_at` cursor once it is reached; otherwise empty."""
        cursor = self.order.stop_at
        if cursor is None or self._place(self.reached) < self._place(cursor):
            return ""
        return f"the order ends at {cursor.stage} {cursor.step}"

    def note_memory(self) -> None:
        """Write the peaks of the current stage into its report."""
        stage = self.reached.stage
        if stage in self.stages and self._needs_jax(stage):
            self.stages[stage] = replace(self.stages[stage], memory=self.memory.now())

    def _needs_jax(self, stage: str) -> bool:
        kind = next(spec.kind for spec in self.order.stages if spec.name == stage)
        return catalog.find(kind, self.order.sources).needs_jax

    def _place(self, cursor: Cursor) -> tuple[int, int]:
        return parent_checkpoint.position(self.order, cursor.stage, cursor.step)


class StageContext:
    """Implementation of `stages.stage.Context` for one stage in one session."""

    def __init__(self, session: RunningSession, spec: StageSpec, checkpoint: OpenedCheckpoint | None) -> None:
        self.run = session.order.run
        self.spec = spec
        self.plan = session.order.stages
        self.checkpoint = checkpoint
        self.model: Mapping[str, Any] = session.order.model
        self.seed = session.order.seed
        self.inputs = session.inputs
        order = session.order
        alone = named_alone(order.files, [stage.options for stage in order.stages])
        self.brought = Brought(order.files, order.datasets, alone)
        self.pins = Pins()  # filled from the checkpoint, also if this session wrote it
        session.pins.append(self.pins)
        self.scratch = session.scratch / "stage"
        self.scratch.mkdir(exist_ok=True)
        self.exports = session.output.exports
        self._session = session
        self._done = self.start_step
        self._saved_step: int | None = None
        self._saved: Manifest | None = None
        self._stopping = False
        self._needs_jax = catalog.find(spec.kind, session.order.sources).needs_jax
        session.budget = session.budget.stage_begun(session.clock(), spec.name)
        self._since_s = session.clock()
        self._compiled_s = session.account.spent_on(TimeClass.COMPILE)

    @property
    def start_step(self) -> int:
        """Number of steps of this stage that the checkpoint already contains."""
        if self.checkpoint is None or self.checkpoint.cursor.stage != self.spec.name:
            return 0
        return self.checkpoint.cursor.step

    def step_done(self, step: int, metrics: Mapping[str, float]) -> Next:
        """Record a step, emit its event and return the next action."""
        if step != self._done + 1:
            raise StageFailed("step-out-of-order", f"{self.spec.name} reports step {step} after step {self._done}")
        self._record_saved(self._session.saver.done())
        now_s = self._session.clock()
        measured = {name: float(value) for name, value in metrics.items()}
        self._refuse_not_a_number(step, measured)
        took_s, self._since_s = now_s - self._since_s, now_s
        compiled_s = self._session.account.spent_on(TimeClass.COMPILE)
        step_compiled_s, self._compiled_s = compiled_s - self._compiled_s, compiled_s
        self._session.budget = self._session.budget.step_done(took_s, step_compiled_s)
        self._done = step
        self._session.reached = Cursor(stage=self.spec.name, step=step)
        if self._session.trace is not None:
            self._session.trace.step_done(self.spec.name, step, measured)
        measured |= self._speed_and_memory(step, measured, took_s)
        self._session.stages[self.spec.name] = self._report(measured)
        self._session.metrics.step_done(self.spec.name, step, measured)
        answer, why = self._agreed(*self._next(now_s))
        always = answer is Next.STOP or step == self.start_step + 1
        self._session.log.step(self.spec.name, step, self.spec.steps, measured, always=always)
        if why and not self._stopping:
            self._stopping = True
            self._emit("stopping", note=why, seconds=self._session.account.seconds())
        elif now_s - self._session.accounted_s >= min(ACCOUNT_S_MAX, self._session.order.budget_s / ACCOUNTS):
            self._session.accounted_s = now_s
            self._emit("account", seconds=self._session.account.seconds())
        return answer

    def save(self, step: int, write: Write) -> None:
        """Save a checkpoint at the latest step; a second call at the same step does nothing.

        Returns once the state is copied: the rest runs in the background, and `finish` waits for it.
        """
        if step != self._done:
            raise StageFailed("save-out-of-order", f"{self.spec.name} saves step {step} after step {self._done}")
        if self._saved_step == step:
            return
        session = self._session
        with session.account.doing(TimeClass.SAVE):
            self._record_saved(session.saver.wait())
            session.metrics.flush()
            began_s, seconds = session.clock(), session.account.seconds()
            directory = session.writing(step)
            rest = _start_write(directory, write, session.hosts)
            self._saved_step = step
            held_s = session.clock() - began_s
            cursor = Cursor(stage=self.spec.name, step=step)
            session.saver.begin(partial(self._write_checkpoint, cursor, directory, rest, began_s, held_s, seconds))
            session.budget = session.budget.save_begun(began_s)
        session.timings["hold_s"] = max(held_s, session.timings.get("hold_s", 0.0))
        self._since_s = session.clock()

    def doing(self, what: TimeClass) -> AbstractContextManager[None]:
        """Book the seconds within the `with` block under this class."""
        return self._session.account.doing(what)

    def may_compile(self, shapes: int) -> None:
        """Keep time for compiling as long as there are shapes left."""
        self._session.budget = self._session.budget.may_compile(shapes)

    def say(self, text: str) -> None:
        """Write text for people to the log."""
        self._session.log.say(text)

    def timed(self, timings: Mapping[str, float]) -> None:
        """Add durations in seconds, under the keys of `Report.timings`, that the stage measured itself."""
        self._session.timings.update(timings)

    def saw(self, step: int, name: str, value: object) -> None:
        """Record an input of a step if tracing is on; otherwise does nothing."""
        if self._session.trace is not None:
            self._session.trace.saw(step, name, value)

    def finish(self) -> Manifest | None:
        """Complete the stage after it returned: the target's checkpoint, or None if the stage has
        to continue in another session.

        Raises StageFailed if the stage returned without being asked to, or did not save its last step.
        """
        with self._session.account.doing(TimeClass.SAVE):
            self._record_saved(self._session.saver.wait())
        self._store_timings()
        if self._done < self.spec.steps and not self._stopping:
            raise StageFailed("stage-ended-early", f"{self.spec.name} returned at {self._done} of {self.spec.steps}")
        if self._saved is None or self._saved.cursor.step != self._done:
            raise StageFailed("stage-not-saved", f"{self.spec.name} returned without saving step {self._done}")
        return self._saved if self._done >= self.spec.steps else None

    def _next(self, now_s: float) -> tuple[Next, str]:
        """Return the next action, and the reason if the session has to end."""
        budget = self._session.budget
        if self._done >= self.spec.steps:
            return Next.STOP, ""
        if self._session.told_to_stop:
            return Next.STOP, self._session.told_to_stop
        if cut := self._session.cut:
            return Next.STOP, cut
        if budget.must_stop(now_s):
            return (
                Next.STOP,
                f"{duration(budget.budget_s - now_s)} are left, the longest step takes {duration(budget.step_bound_s)}",
            )
        wanted = self._session.reached in self._session.order.save_at
        return (Next.SAVE if wanted or budget.must_save(now_s) else Next.GO_ON), ""

    def _agreed(self, answer: Next, why: str) -> tuple[Next, str]:
        """Return the first process's next action and reason, after a check that all have read the same data."""
        begins = self._done == self.start_step + 1
        read = self.pins.described() if begins and self._session.hosts.count > 1 else None
        decided, _, reason = self._session.hosts.agreed(f"{answer}\n{why}", same=read).partition("\n")
        return Next(decided), reason

    def _speed_and_memory(self, step: int, metrics: Mapping[str, float], took_s: float) -> dict[str, float]:
        """Return speed and memory metrics. A stage's first step here is mostly loading and
        compiling, so it gets no speed."""
        found = throughput.rates(metrics, took_s) if step > self.start_step + 1 else {}
        return found | (throughput.memory_metrics(self._session.memory.recent()) if self._needs_jax else {})

    def _refuse_not_a_number(self, step: int, metrics: Mapping[str, float]) -> None:
        """Raise StageFailed if a metric shows that the step used or produced a number that is not finite."""
        checked = {name: metrics[name] for name in FINITE if name in metrics}
        wrong = next((name for name, value in checked.items() if not math.isfinite(value)), None)
        if wrong is None:
            return
        self._withdraw(step - 1)
        others = ", ".join(f"{name} {value:.4g}" for name, value in checked.items() if name != wrong)
        reason = f"the {wrong} of {self.spec.name} is {checked[wrong]} at step {step}{f' ({others})' if others else ''}"
        raise StageFailed("not-a-number", f"{reason}: lower learning_rate or clip_norm")

    def _withdraw(self, step: int) -> None:
        """Delete the checkpoint of `step`, if there is one: the step after it was not finite, so
        it must not be resumed from."""
        session = self._session
        with session.account.doing(TimeClass.SAVE):
            self._record_saved(session.saver.wait())
        if self._saved_step == step:
            session.checkpoint = self._saved = session.output.withdraw()
            session.log.say(
                f"the checkpoint of {self.spec.name} step {step} is withdrawn: the step after it is not a number"
            )

    def _report(self, metrics: dict[str, float]) -> StageReport:
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        memory = self._session.memory.recent() if self._needs_jax else {}
        return StageReport(done=self._done, target=self.spec.steps, metrics=finite, memory=memory)

    def _write_checkpoint(
        self,
        cursor: Cursor,
        directory: Path,
        rest: Digests | Callable[[], Digests],
        began_s: float,
        held_s: float,
        seconds: Mapping[str, float],
    ) -> SavedCheckpoint:
        """Write a checkpoint of the copied state and emit its event. Runs in the background; uses
        nothing that a step changes."""
        session = self._session
        try:
            manifest = session.output.checkpoint(cursor, directory, rest() if callable(rest) else rest)
        finally:
            if session.hosts.first:
                shutil.rmtree(directory)
        session.checkpoint = manifest
        saved = SavedCheckpoint(manifest, began_s, session.clock())
        metrics = {"save_s": saved.ended_s - began_s, "hold_s": held_s, "size_bytes": float(manifest.size_bytes)}
        self._emit("saved", metrics, note=manifest.digest, seconds=seconds, step=cursor.step)
        return saved

    def _record_saved(self, saved: SavedCheckpoint | None) -> None:
        """Record a checkpoint that is on disk."""
        if saved is None:
            return
        session, took_s = self._session, saved.ended_s - saved.began_s
        self._saved = saved.manifest
        session.budget = session.budget.save_done(saved.ended_s, took_s)
        session.timings["save_s"] = max(took_s, session.timings.get("save_s", 0.0))

    def _store_timings(self) -> None:
        self._session.timings.update(self._session.budget.timings())

    def _emit(
        self,
        event: str,
        metrics: Mapping[str, float] | None = None,
        *,
        note: str = "",
        seconds: Mapping[str, float] | None = None,
        step: int | None = None,
    ) -> None:
        self._session.log.event(
            event,
            stage=self.spec.name,
            step=self._done if step is None else step,
            target=self.spec.steps,
            metrics=metrics,
            note=note,
            seconds=seconds,
        )


def _start_write(directory: Path, write: Write, hosts: Hosts) -> Digests | Callable[[], Digests]:
    """Call `write`; returns the digests or the function that finishes writing. Removes the
    directory if `write` fails. Of several processes the first one makes the directory for all."""
    if hosts.first:
        directory.mkdir(parents=True)
    hosts.agreed("the directory is there")
    try:
        return write(directory)
    except BaseException:
        if hosts.first:
            shutil.rmtree(directory)
        raise
