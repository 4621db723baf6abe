"""Runs a session from order to report: restores the parent checkpoint and runs stages as
long as the time budget allows."""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from stages import catalog
from stages.contract import Cursor, Manifest, Order, Report, StageReport, StageSpec
from stages.numerics import NUMERICS_CHANGED, STRICT, Numerics, compared, refusal
from stages.session import (
    accelerator,
    failure_report,
    host_failures,
    metrics,
    numerics_record,
    packages,
    packing,
    parent_checkpoint,
)
from stages.session.budget import Budget
from stages.session.compilation_cache import Compiled
from stages.session.compile_timer import Compilations
from stages.session.context import RunningSession, StageContext
from stages.session.duration_text import duration
from stages.session.hosts import Hosts
from stages.session.last_exit import leaving_in_time
from stages.session.order_check import check_order
from stages.session.progress import Log, SilentLog
from stages.session.session_output import FollowingOutput, Output
from stages.session.session_report import report_of
from stages.session.time_accounting import TimeAccount, TimeClass
from stages.session.tracing import Trace
from stages.stage import OpenedCheckpoint, StageFailed

ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Signals that ask a session to end; Slurm's `srun` passes SIGUSR1 on to several processes, and kills them at SIGTERM."""


@dataclass(frozen=True)
class Ready:
    """Result of setting up this machine: duration in seconds, and the error if it failed; the
    session then only reports it."""

    took_s: float = 0.0
    problem: StageFailed | None = None
    hosts: Hosts | None = None
    """This process among those of its session; if None, it follows from the order and the environment."""


def main(
    order: Order,
    *,
    working: Path,
    inputs: Path,
    started_s: float,
    clock: Callable[[], float] = time.monotonic,
    ready: Ready | None = None,
    leave: Callable[[int], object] | None = None,
) -> int:
    """Carry out the order; returns 0 if the session finished or yielded, 1 if it failed. The report is always written.

    A session of several processes calls this in each of them; the first one writes for all.

    `started_s` is the value of `clock` when the process started. `leave` ends the process immediately with an exit
    status (`os._exit`); it is called shortly before the limit if the session has not ended by then.
    """
    ready = ready or Ready()
    hosts = ready.hosts or Hosts.of(order.accelerator, os.environ, working.parent / "hosts")
    session = _begin(order, working, inputs, lambda: clock() - started_s, hosts)
    session.account.spent(TimeClass.INSTALL, ready.took_s)
    try:
        with (
            _stopped_by_sigterm(session),
            leaving_in_time(session, leave),
            host_failures.heeding_others(session, leave),
        ):
            report = _run(session, ready.problem)
        session.output.report(report)
    finally:
        _end(session)
    return _status(session.hosts, report, leave)


def _status(hosts: Hosts, report: Report, leave: Callable[[int], object] | None) -> int:
    """Return the exit status. Of several processes, one that failed ends at once: at the exit of the interpreter JAX would
    wait for the others, which may wait for this one."""
    if report.outcome != "failed":
        hosts.part()
        return 0
    if hosts.count > 1 and leave is not None:
        leave(1)
    return 1


def _begin(
    order: Order, working: Path, inputs: Path, clock: Callable[[], float], hosts: Hosts | None = None
) -> RunningSession:
    """Create the session's state, and a folder for temporary files outside the output."""
    large = working.parent / "tmp"  # Kaggle's large disk, if there is one
    scratch = Path(tempfile.mkdtemp(prefix="relay-", dir=large if large.is_dir() else None))
    hosts = hosts or Hosts()
    log = Log(clock) if hosts.first else SilentLog(clock)
    sinks = partial(metrics.sinks_of, order, working, scratch, log.say) if hosts.first else tuple
    return RunningSession(
        order=order,
        inputs=inputs,
        scratch=scratch,
        clock=clock,
        log=log,
        output=Output(working, order) if hosts.first else FollowingOutput(working, order),
        hosts=hosts,
        account=TimeAccount(clock),
        budget=Budget(budget_s=order.budget_s, save_interval_s=order.save_interval_s, known=order.times),
        reached=order.start,
        trace=Trace(working) if order.trace and hosts.first else None,
        metrics=metrics.Metrics(order, sinks, log.say),
    )


def _run(session: RunningSession, broken: StageFailed | None) -> Report:
    """Carry out the order until it is finished, yields or fails; returns the report.

    `broken` is the error of an earlier step, for example in the user's own code: then the session only reports it.
    """
    order = session.order
    session.log.event("started", note=f"{order.run} session {order.session} attempt {order.attempt}")
    try:
        if broken is not None:
            raise broken
        outcome = _carry_out(session)
    except BaseException as error:  # noqa: BLE001 - every failure of a stage must be reported
        session.failing = True
        failed = failure_report.of(error, session.reached.stage, session.memory.now())
        failed = host_failures.judged(session.hosts, failed, error)
        host_failures.tell(session.hosts, failed)
        session.saver.close()  # let a checkpoint in progress finish
        session.note_memory()
        session.log.event("failed", stage=session.reached.stage, step=session.reached.step, note=failed.headline)
        session.log.say(failed.traceback)
        return report_of(session, "failed", failed)
    if outcome == "finished":
        session.log.event("finished", note=f"the pipeline of {order.run} is done")
    return report_of(session, outcome)


def _carry_out(session: RunningSession) -> str:
    """Check the order and this machine, restore the parent checkpoint, and run stages while time is left.

    Returns the outcome. Each stage starts from the checkpoint that the one before it saved.
    """
    check_order(session.order)
    packages.require(packages.wanted(session.order).pins)
    remaining = _stages_left(session)
    numerics = _find_accelerator(session, remaining)
    opened = _restore_parent(session)
    _compare_numerics(session, numerics, opened)
    for spec in remaining:
        if why := session.hosts.agreed(_no_time(session)):
            session.log.event("stopping", stage=spec.name, target=spec.steps, note=why)
            return "yielded"
        saved = _run_stage(session, spec, opened)
        if saved is None:
            return "yielded"
        if spec is not remaining[-1]:
            opened = _reopen(session, saved, opened)
    return "finished"


def _end(session: RunningSession) -> None:
    """Close what the session opened, and remove its temporary files."""
    session.saver.close()
    session.metrics.close()
    if session.output.compiled is not None:
        session.output.compiled.end()
    shutil.rmtree(session.scratch, ignore_errors=True)


@contextlib.contextmanager
def _stopped_by_sigterm(session: RunningSession) -> Iterator[None]:
    """Handle SIGTERM, and SIGUSR1 in its place, within the `with` block by asking the session to save and end at the next
    step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def remember(number: int, _frame: FrameType | None) -> None:
        session.told_to_stop = f"the session was asked to end ({signal.Signals(number).name})"

    before = {each: signal.signal(each, remember) for each in ASKING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


# --- the steps of an order, in order -----------------------------------------


def _stages_left(session: RunningSession) -> Sequence[StageSpec]:
    """Return the stages to run, and initialise each stage's report with the steps done before this session."""
    order = session.order
    first, done = parent_checkpoint.position(order, order.start.stage, order.start.step)
    for index, spec in enumerate(order.stages):
        before = spec.steps if index < first else done if index == first else 0
        session.stages[spec.name] = StageReport(done=before, target=spec.steps)
    return [spec for spec in order.stages[first:] if spec.steps > 0]


def _find_accelerator(session: RunningSession, remaining: Sequence[StageSpec]) -> Numerics:
    """Check the promised accelerator if a stage needs JAX, and set up the cache of compiled programs.

    Returns the record of what determines this session's bits, without any part if no stage needs JAX.
    """
    order = session.order
    if not any(catalog.find(spec.kind, order.sources).needs_jax for spec in remaining):
        return Numerics()
    session.output.compiled = Compiled.begin(session.scratch, order.accelerator.platform, session.log.say)
    with session.account.doing(TimeClass.ACCELERATOR):
        session.hosts.connect(order.accelerator, os.environ)
        session.log.say(accelerator.check(order.accelerator))
        return numerics_record.recorded(order)


def _restore_parent(session: RunningSession) -> OpenedCheckpoint | None:
    """Open the order's parent checkpoint; None if the run begins with this session."""
    began_s, directory = session.clock(), session.scratch / "parent"
    with session.account.doing(TimeClass.RESTORE):
        opened = parent_checkpoint.open_parent(session.order, session.inputs, directory, session.output.compiled)
    if opened is None:
        return None
    session.timings["restore_s"] = session.clock() - began_s
    if place := parent_checkpoint.place_of(session.order, session.inputs):
        session.log.say(f"{parent_checkpoint.MOUNTED}{place}")
    session.log.event(
        "restored",
        stage=session.order.start.stage,
        step=session.order.start.step,
        metrics={"restore_s": session.timings["restore_s"]},
        note=session.order.parent.digest if session.order.parent else "",
    )
    return opened


def _compare_numerics(session: RunningSession, numerics: Numerics, opened: OpenedCheckpoint | None) -> None:
    """Compare what determines this session's bits with the parent checkpoint's record, and report the differences.

    A warm start takes weights over as they are, and continues no history, so there is nothing to compare. Raises
    StageFailed `numerics-changed` if bits may change and the order is strict.
    """
    continued = opened if opened is not None and not opened.warm else None
    found = compared(numerics, continued.numerics if continued else None, has_parent=continued is not None)
    session.output.numerics = found
    if found is not None and found.parent_unknown:
        session.log.say(
            "the checkpoint does not say how it was computed: nothing is known of the bits before this session"
        )
    for change in found.changes if found else ():
        session.log.say(f"{change.text}: {'may change bits' if change.changes_bits else 'changes no bits'}")
    if session.order.exactness == STRICT and (why := refusal(found)):
        raise StageFailed(NUMERICS_CHANGED, why)


def _no_time(session: RunningSession) -> str:
    """Return the reason for not starting the next stage in this session; empty if there is time for it."""
    if why := session.told_to_stop or session.cut:
        return why
    now_s = session.clock()
    if session.budget.stage_begun(now_s).must_stop(now_s):
        return f"{duration(session.budget.budget_s - now_s)} are left, too little to begin"
    return ""


def _run_stage(session: RunningSession, spec: StageSpec, opened: OpenedCheckpoint | None) -> Manifest | None:
    """Run a stage; returns its last checkpoint, or None if the stage has to continue in another session."""
    with session.account.doing(TimeClass.MODEL):
        train = catalog.find(spec.kind).load()
    context = StageContext(session, spec, opened)
    session.memory.begin_stage()
    session.reached = Cursor(stage=spec.name, step=context.start_step)
    with Compilations(session.account).heard(), session.account.doing(TimeClass.STEP):
        train(context)
    manifest = context.finish()
    session.note_memory()
    if manifest is not None:
        seconds = session.account.seconds()
        session.log.event(
            "stage", stage=spec.name, step=spec.steps, target=spec.steps, note=manifest.digest, seconds=seconds
        )
    return manifest


def _reopen(session: RunningSession, manifest: Manifest, before: OpenedCheckpoint | None) -> OpenedCheckpoint:
    """Open the checkpoint that this session just saved, in the same way as the next session would."""
    directory = session.scratch / f"after-{manifest.cursor.stage}"
    with session.account.doing(TimeClass.RESTORE):
        packing.open_checkpoint(session.output.folder(manifest.cursor), manifest, directory)
        if before is not None:
            shutil.rmtree(before.directory)
    return parent_checkpoint.opened(manifest, directory)
