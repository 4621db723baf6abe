"""Runs a session from order to report: restores the parent checkpoint and runs stages as
long as the time budget allows."""

import contextlib
import platform
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from stages import catalog
from stages.contract import Cursor, Manifest, Order, Report, StageReport, StageSpec
from stages.session import accelerator, failure_report, metrics, packages, packing, parent_checkpoint
from stages.session.budget import Budget
from stages.session.compilation_cache import Compiled
from stages.session.compile_timer import Compilations
from stages.session.context import RunningSession, StageContext
from stages.session.last_exit import exit_at_s, last_exit
from stages.session.progress import Log
from stages.session.session_output import Output
from stages.session.time_accounting import TimeAccount, TimeClass
from stages.session.tracing import Trace
from stages.stage import OpenedCheckpoint, StageFailed

STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Allowed stage names: a stage's name becomes part of a folder's name."""
PACKAGES = ("jax", "jaxlib", "libtpu", "flax", "optax", "orbax-checkpoint", "google-tunix", "qwix", "numpy")
"""Packages whose versions the report lists, besides the pinned ones."""


@dataclass(frozen=True)
class Ready:
    """Result of setting up this machine: duration in seconds, and the error if it failed; the
    session then only reports it."""

    took_s: float = 0.0
    problem: StageFailed | None = None


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

    `started_s` is the value of `clock` when the process started. `leave` ends the process immediately with an exit
    status (`os._exit`); it is called shortly before the limit if the session has not ended by then.
    """
    scratch = _make_scratch(working)
    session = _session(order, working, inputs, scratch, lambda: clock() - started_s)
    ready = ready or Ready()
    session.account.spent(TimeClass.INSTALL, ready.took_s)
    try:
        with _stopped_by_sigterm(session), _last_exit(session, leave):
            report = run(session, ready.problem)
        session.output.report(report)
    finally:
        session.saver.close()
        session.metrics.close()
        if session.output.compiled is not None:
            session.output.compiled.end()
        shutil.rmtree(scratch, ignore_errors=True)
    return 1 if report.outcome == "failed" else 0


def run(session: RunningSession, broken: StageFailed | None = None) -> Report:
    """Run the session until it finishes, yields or fails; returns the report."""
    order = session.order
    session.log.event("started", note=f"{order.run} session {order.session} attempt {order.attempt}")
    try:
        if broken is not None:
            raise broken
        outcome = _train(session)
    except BaseException as error:  # noqa: BLE001 - every failure of a stage must be reported
        session.saver.close()  # let a checkpoint in progress finish
        failed = failure_report.of(error, session.reached.stage)
        session.log.event("failed", stage=session.reached.stage, step=session.reached.step, note=failed.headline)
        session.log.say(failed.traceback)
        return _report(session, "failed", failed)
    if outcome == "finished":
        session.log.event("finished", note=f"the pipeline of {order.run} is done")
    return _report(session, outcome)


def _train(session: RunningSession) -> str:
    order = session.order
    _check_order(order)
    packages.require(order.pins)
    first, done = parent_checkpoint.position(order, order.start.stage, order.start.step)
    _init_stage_reports(session, first, done)
    remaining = [spec for spec in order.stages[first:] if spec.steps > 0]
    if any(catalog.find(spec.kind, order.sources).needs_jax for spec in remaining):
        session.output.compiled = Compiled.begin(session.scratch, order.accelerator.platform, session.log.say)
        with session.account.doing(TimeClass.ACCELERATOR):
            session.log.say(accelerator.check(order.accelerator))
    with session.account.doing(TimeClass.RESTORE):
        opened = _restore(session)
    for spec in remaining:
        if (why := _no_time(session)) != "":
            session.log.event("stopping", stage=spec.name, target=spec.steps, note=why)
            return "yielded"
        manifest = _stage(session, spec, opened)
        if manifest is None:
            return "yielded"
        if spec is not remaining[-1]:
            with session.account.doing(TimeClass.RESTORE):
                opened = _reopen(session, manifest, opened)
    return "finished"


def _check_order(order: Order) -> None:
    """Raise StageFailed for an order that no session can carry out."""
    names = [spec.name for spec in order.stages]
    if len(set(names)) < len(names) or not all(STAGE_NAME.fullmatch(name) for name in names):
        raise StageFailed("order-inconsistent", f"stages need names of their own, of letters, digits, - and _: {names}")
    if order.parent is None and order.start.step > 0:
        raise StageFailed(
            "order-inconsistent",
            f"the order starts at {order.start.stage} {order.start.step} without a parent checkpoint",
        )
    for cursor in (order.stop_at, *order.save_at):
        if cursor is not None and cursor.stage not in names:
            raise StageFailed(
                "order-inconsistent", f"the order stops or saves in stage {cursor.stage!r}, which it does not have"
            )
    for spec in order.stages:
        try:
            catalog.find(spec.kind).fit(spec.options, f"stage {spec.name}")
        except ValueError as error:
            raise StageFailed("order-inconsistent", str(error)) from error


def _init_stage_reports(session: RunningSession, first: int, done: int) -> None:
    """Initialise each stage's report with the steps done before this session."""
    for index, spec in enumerate(session.order.stages):
        before = spec.steps if index < first else done if index == first else 0
        session.stages[spec.name] = StageReport(done=before, target=spec.steps)


def _restore(session: RunningSession) -> OpenedCheckpoint | None:
    began_s = session.clock()
    opened = parent_checkpoint.open_parent(
        session.order, session.inputs, session.scratch / "parent", session.output.compiled
    )
    if opened is None:
        return None
    session.timings["restore_s"] = session.clock() - began_s
    session.log.event(
        "restored",
        stage=opened.cursor.stage,
        step=opened.cursor.step,
        metrics={"restore_s": session.timings["restore_s"]},
        note=session.order.parent.digest if session.order.parent else "",
    )
    return opened


def _stage(session: RunningSession, spec: StageSpec, opened: OpenedCheckpoint | None) -> Manifest | None:
    """Run a stage; returns its last checkpoint, or None if the stage has to continue in another session."""
    with session.account.doing(TimeClass.MODEL):
        train = catalog.find(spec.kind).load()
    context = StageContext(session, spec, opened)
    session.reached = Cursor(stage=spec.name, step=context.start_step)
    with Compilations(session.account).heard(), session.account.doing(TimeClass.STEP):
        train(context)
    manifest = context.finish()
    if manifest is not None:
        seconds = session.account.seconds()
        session.log.event(
            "stage", stage=spec.name, step=spec.steps, target=spec.steps, note=manifest.digest, seconds=seconds
        )
    return manifest


def _reopen(session: RunningSession, manifest: Manifest, before: OpenedCheckpoint | None) -> OpenedCheckpoint:
    """Open the checkpoint that this session just saved, in the same way as the next session would."""
    directory = session.scratch / f"after-{manifest.cursor.stage}"
    packing.open_checkpoint(session.output.folder(manifest.cursor), manifest, directory)
    if before is not None:
        shutil.rmtree(before.directory)
    return parent_checkpoint.opened(manifest, directory)


def _no_time(session: RunningSession) -> str:
    """Return the reason for not starting the next stage in this session; empty if there is time for it."""
    if why := session.told_to_stop or session.cut:
        return why
    now_s = session.clock()
    if session.budget.stage_begun(now_s).must_stop(now_s):
        return f"{session.budget.budget_s - now_s:.0f} s are left, too little to begin"
    return ""


def _report(
    session: RunningSession, outcome: str, failed: failure_report.Failure | None = None, reason: str = ""
) -> Report:
    order = session.order
    names = (*PACKAGES, *(packages.name_of(pin) for pin in order.pins))
    return Report(
        run=order.run,
        session=order.session,
        attempt=order.attempt,
        token=order.token,
        outcome=outcome,
        started=order.start,
        reached=session.reached,
        checkpoint=session.checkpoint,
        cause=failed.cause if failed else "",
        reason=failed.reason if failed else reason,
        transient=failed.transient if failed else False,
        traceback=failed.traceback if failed else "",
        stages=dict(session.stages),
        timings={**session.timings, "session_s": session.clock()},
        seconds=session.account.seconds(),
        stand_ins=tuple(sorted({name for pins in session.pins for name in pins.stand_ins})),
        versions={"python": platform.python_version(), **packages.versions(names)},
    )


def _session(order: Order, working: Path, inputs: Path, scratch: Path, clock: Callable[[], float]) -> RunningSession:
    log = Log(clock)
    return RunningSession(
        order=order,
        inputs=inputs,
        scratch=scratch,
        clock=clock,
        log=log,
        output=Output(working, order),
        account=TimeAccount(clock),
        budget=Budget(budget_s=order.budget_s, save_interval_s=order.save_interval_s, known=order.times),
        reached=order.start,
        trace=Trace(working) if order.trace else None,
        metrics=metrics.Metrics(order, lambda: metrics.sinks_of(order, working, scratch, log.say), log.say),
    )


def _make_scratch(working: Path) -> Path:
    """Create a temporary directory outside the output, on Kaggle's large disk if there is one."""
    large = working.parent / "tmp"
    return Path(tempfile.mkdtemp(prefix="relay-", dir=large if large.is_dir() else None))


def _last_exit(
    session: RunningSession, leave: Callable[[int], object] | None
) -> contextlib.AbstractContextManager[None]:
    if leave is None:
        return contextlib.nullcontext()
    order = session.order

    def go() -> None:
        why = f"the session leaves before its limit of {order.limit_s:g} s: its last step or save did not end in time"
        session.log.event("stopping", stage=session.reached.stage, step=session.reached.step, note=why)
        session.output.report(_report(session, "yielded", reason=why))
        leave(0)

    return last_exit(exit_at_s(order.budget_s, order.limit_s), session.clock, go)


@contextlib.contextmanager
def _stopped_by_sigterm(session: RunningSession) -> Iterator[None]:
    """Handle SIGTERM within the `with` block by asking the session to save and end at the next step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def remember(_signal: int, _frame: FrameType | None) -> None:
        session.told_to_stop = "the session was asked to end (SIGTERM)"

    before = signal.signal(signal.SIGTERM, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
