"""Chooses the next command for a session that is under way. Pure."""

from datetime import datetime, timedelta
from typing import assert_never

from orchestrator.core.commands import Collect, Command, FindPush, Poll, Publish, Wait
from orchestrator.core.plan import Limits, finished
from orchestrator.core.polling import next_poll_at
from orchestrator.pipeline.model import Pipeline
from state.model.run_state import RunState, Session
from state.model.snapshot import Snapshot
from state.model.statuses import Phase, RunStatus


def blocking_session(state: RunState, pipeline: Pipeline) -> Session | None:
    """Return the session that blocks the next one, or None.

    With `handoff: kernel-output` publishing does not block the next session, except at the end of the pipeline.
    """
    last = state.last
    if last is None or last.phase.over:
        return None
    publishing = last.phase in (Phase.COLLECTED, Phase.PUBLISHING)
    if publishing and pipeline.handoff == "kernel-output" and not finished(state, pipeline):
        return None
    return last


def waits_for_a_person(session: Session, state: RunState) -> bool:
    """Return True if publishing a parked run's checkpoint failed under every name that is tried without asking."""
    publishing = session.phase is Phase.PUBLISHING and session.checkpoint is not None
    return (
        state.run.status is RunStatus.PARKED and publishing and state.checkpoint(session.checkpoint or "").wants_person
    )


def carry_on(session: Session, snapshot: Snapshot, limits: Limits, now: datetime) -> Command:
    """Return the command that brings the session on: find its push, poll, collect or publish it, or wait."""
    match session.phase:
        case Phase.PUSHING:
            return FindPush(*session.key)
        case Phase.PUSHED | Phase.QUEUED | Phase.RUNNING:
            due = next_poll_at(session, snapshot.watch, limits, now)
            return Poll(*session.key) if now >= due else Wait(due, f"session {session.number} is {session.phase}")
        case Phase.ENDED:
            return Collect(*session.key)
        case Phase.COLLECTED:
            return Publish(*session.key)
        case Phase.PUBLISHING:
            due = dataset_due(snapshot.watch.dataset_polled_at, limits, now)
            return Publish(*session.key) if now >= due else Wait(due, f"{session.checkpoint} is being processed")
        case Phase.PLANNED | Phase.PUBLISHED | Phase.NO_CHECKPOINT | Phase.LOST:
            raise AssertionError(f"{session.slug} is {session.phase}: there is nothing to continue")
        case _:
            assert_never(session.phase)


def dataset_due(polled_at: datetime | None, limits: Limits, now: datetime) -> datetime:
    """Return when to poll a dataset next. Ignores a last poll in the future, which a wrong clock recorded."""
    return now if polled_at is None or polled_at > now else polled_at + timedelta(seconds=limits.poll_s)
