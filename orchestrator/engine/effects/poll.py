"""Polls a session: its status, the new part of its log, and twin sessions of its kernel."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.base.errors import Refused, Transient, Vanished
from orchestrator.base.humanize import duration
from orchestrator.core import waits
from orchestrator.engine.effects.context import WELL, EffectContext, EffectResult, reset_failures
from orchestrator.engine.effects.session_log import LogReader, read_log
from orchestrator.engine.effects.session_status import require, seen_of
from orchestrator.engine.effects.twins import twins
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import Worker
from stages.contract import Progress
from state.facts.base import Fact
from state.facts.session import SeenEnded, SeenQueued, SeenRunning
from state.model.run_state import Session
from state.model.snapshot import Snapshot
from state.model.statuses import Phase, RunStatus


def poll(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Poll the session; if something happened to it, also look for twin sessions of its kernel.

    The session of a cancelled run is stopped first, if the platform can do that.
    """
    if snapshot.state.run.status is RunStatus.CANCELLED and shell.gateway.can_stop:
        shell.gateway.stop(session.slug, session.kernel_version)
    result = poll_session(snapshot, session, pipeline, shell)
    return replace(result, facts=(*twins(session, shell), *result.facts)) if result.facts else result


def poll_session(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Poll the session's status, and read the new part of its log."""
    version, seen = seen_of(session.slug, session.kernel_version, shell.gateway)
    session = replace(session, kernel_version=version)
    if seen.worker is Worker.NEW_SCRIPT:
        raise Vanished(f"{shell.gateway.label} has {session.slug} and says that it never ran")
    if seen.worker is Worker.UNKNOWN:
        require(session, shell)
        raise Transient(
            f"{shell.gateway.label}'s answer about {session.slug} made no sense: {seen.message or seen.worker}"
        )
    facts: list[Fact] = []
    if seen.worker is Worker.QUEUED and session.phase is Phase.PUSHED:
        facts.append(SeenQueued(number=session.number, attempt=session.attempt))
    if seen.worker is Worker.RUNNING and session.phase is not Phase.RUNNING:
        facts.append(SeenRunning(number=session.number, attempt=session.attempt))
    if seen.worker.terminal:
        ended = SeenEnded(
            number=session.number, attempt=session.attempt, worker=seen.worker.value, message=seen.message
        )
        return EffectResult((*facts, ended), replace(WELL, polled_at=shell.clock.now()))
    known = snapshot.watch.log_lines
    log = read_log(session, shell, known) if seen.worker is Worker.RUNNING else LogReader(session, known)
    if log.count <= known and not facts and (over := _ended_unseen(snapshot, session, seen.worker, shell)):
        return EffectResult((over,), replace(WELL, polled_at=shell.clock.now()))
    watch = replace(
        reset_failures(snapshot.watch),
        polled_at=shell.clock.now(),
        slot_since=None,
        slot_seen_at=None,
        log_lines=max(known, log.count),
        done_at=_done_at(session, log.recent, pipeline, shell.clock.now()) if log.count else snapshot.watch.done_at,
        seconds=log.seconds or snapshot.watch.seconds,
    )
    return EffectResult(tuple(facts), watch, tuple(log.metrics))


def _ended_unseen(snapshot: Snapshot, session: Session, worker: Worker, shell: EffectContext) -> SeenEnded | None:
    """Return the end of a session whose status has been the same for too long and whose log is silent; else None.

    Kaggle kills a session at its limit, so one that runs longer has ended. A queued one has ended if it left files.
    """
    watch = waits.with_poll_counted(snapshot.watch, waits.awaited_event(session), shell.limits, shell.clock.now())
    if not waits.waited_too_long(watch, session, shell.limits):
        return None
    if session.phase is not Phase.RUNNING and not _left_files(session, shell):
        return None
    message = f"{shell.gateway.label} has said {worker.value} for {duration(watch.waited_s)}, and the session has ended"
    return SeenEnded(number=session.number, attempt=session.attempt, worker=worker.value, message=message)


def _left_files(session: Session, shell: EffectContext) -> bool:
    """Return True if Kaggle lists files that the session left; False if the listing fails."""
    try:
        return bool(shell.gateway.output(session.slug, session.kernel_version))
    except (Transient, Refused):
        return False


def _done_at(session: Session, recent: Sequence[Progress], pipeline: Pipeline, now: datetime) -> datetime | None:
    """Estimate when the pipeline's last step is done, at the recent pace; None while another stage runs."""
    last = pipeline.stages[-1]
    steps = [event for event in recent if event.stage == last.name]
    if len(steps) < 2 or steps[-1].step <= steps[0].step:
        return None
    pace_s = (steps[-1].at_s - steps[0].at_s) / (steps[-1].step - steps[0].step)
    begun_at = session.running_at or now
    at = min(now, begun_at + timedelta(seconds=steps[-1].at_s))
    return at + timedelta(seconds=min(session.limit_s, max(0.0, pace_s * (last.steps - steps[-1].step))))
