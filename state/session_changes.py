"""Effect of each fact about a session on the session and its checkpoint. Pure."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from state.facts.base import SessionFact
from state.facts.checkpoint import (
    CheckpointCarried,
    CheckpointDamaged,
    CheckpointInspected,
    CheckpointPublished,
    CheckpointWithdrawn,
    DatasetDropped,
    DatasetOffered,
)
from state.facts.session import (
    Judgement,
    NothingCollected,
    OutputCollected,
    PushConfirmed,
    PushHeld,
    PushRefused,
    PushUnclear,
    PushUnfound,
    SeenEnded,
    SeenRunning,
    SessionLost,
    SessionPlanned,
    SessionResized,
    SessionSought,
    TwinEnded,
    TwinSeen,
)
from state.failures import IllegalTransition
from state.model.run_state import Checkpoint, RunState, Session
from state.model.statuses import CheckpointStatus, Outcome, Phase, RunStatus
from state.transitions import SESSION_TRANSITIONS

CHECKPOINT_DAMAGED = "checkpoint-damaged"
"""Cause recorded for a session whose progress is lost because its checkpoint was damaged later."""


def apply_to_session(state: RunState, fact: SessionFact, at: datetime) -> RunState:
    """Return the state after a fact about one of its sessions. Raises IllegalTransition if the fact is not allowed."""
    match fact:
        case SessionPlanned():
            return _planned(state, fact, at)
        case TwinSeen() | TwinEnded():
            return _twin(state, fact, at)
        case _:
            return _session(state, fact, at)


def _planned(state: RunState, fact: SessionPlanned, at: datetime) -> RunState:
    if state.run.status is not RunStatus.ACTIVE:
        raise IllegalTransition(f"{state.run.id}: a session cannot be planned while the run is {state.run.status}")
    if any(session.key >= (fact.number, fact.attempt) for session in state.sessions):
        raise IllegalTransition(f"{state.run.id}: session {fact.number}.{fact.attempt} is not new")
    session = Session(
        run=state.run.id,
        number=fact.number,
        attempt=fact.attempt,
        slug=fact.slug,
        token=fact.token,
        phase=Phase.PLANNED,
        start=fact.start,
        parent=fact.parent,
        budget_s=fact.budget_s,
        limit_s=fact.limit_s,
        planned_at=at,
        platform=state.run.platform,
    )
    return replace(state, sessions=(*state.sessions, session))


def _twin(state: RunState, fact: TwinSeen | TwinEnded, at: datetime) -> RunState:
    """Record a duplicate session of the same kernel. The session's own phase does not change."""
    session = state.session(fact.number, fact.attempt)
    if session.phase in (Phase.PLANNED, Phase.PUSHING) or (isinstance(fact, TwinEnded) and not session.twin_lives):
        raise IllegalTransition(f"{session.slug}: {fact.name} cannot follow {session.phase}")
    if isinstance(fact, TwinSeen):
        return state.with_session(replace(session, twin=fact.version, twin_at=at, twin_ended_at=None))
    return state.with_session(replace(session, twin_ended_at=at))


def _session(state: RunState, fact: SessionFact, at: datetime) -> RunState:
    session = state.session(fact.number, fact.attempt)
    try:
        phase = SESSION_TRANSITIONS[session.phase][type(fact)]
    except KeyError:
        raise IllegalTransition(f"{session.slug}: {fact.name} cannot follow {session.phase}") from None
    session = replace(session, phase=phase)
    change = _CHANGES.get(type(fact))
    state = state.with_session(change(session, fact, at) if change else session)
    match fact:
        case PushUnfound() | PushConfirmed(adopted=False):
            return replace(state, run=replace(state.run, foreign_push_possible=False))
        case OutputCollected():
            return _collected(state, session, fact, at)
        case CheckpointPublished():
            return _published(state, session, at)
        case DatasetOffered() | DatasetDropped():
            return _uploaded(state, session, fact, at)
        case CheckpointCarried():
            return _carried(state, session)
        case CheckpointInspected() | CheckpointWithdrawn() | CheckpointDamaged():
            return _verified(state, session, fact, at)
        case _:
            return state


def _uploaded(state: RunState, session: Session, fact: DatasetOffered | DatasetDropped, at: datetime) -> RunState:
    """Record the slug under which the checkpoint was uploaded, and when Kaggle accepted it."""
    assert session.checkpoint is not None, f"{session.slug} has no checkpoint to offer"
    since = at if isinstance(fact, DatasetOffered) else None
    checkpoint = replace(state.checkpoint(session.checkpoint), dataset=fact.dataset, offered_at=since)
    return state.with_checkpoint(replace(checkpoint, platform=state.run.platform))


def _carried(state: RunState, session: Session) -> RunState:
    """Have the checkpoint published again, on the run's present platform."""
    assert session.checkpoint is not None, f"{session.slug} has no checkpoint to carry"
    checkpoint = replace(state.checkpoint(session.checkpoint), platform=state.run.platform, published_at=None)
    status = CheckpointStatus.COLLECTED if checkpoint.usable else checkpoint.status
    return state.with_checkpoint(replace(checkpoint, status=status, offered_at=None))


def _verified(
    state: RunState,
    session: Session,
    fact: CheckpointInspected | CheckpointWithdrawn | CheckpointDamaged,
    at: datetime,
) -> RunState:
    """Apply the result of verifying the checkpoint's bytes. An abandoned checkpoint stays abandoned."""
    assert session.checkpoint is not None, f"{session.slug} has no checkpoint to look at"
    checkpoint = state.checkpoint(session.checkpoint)
    match fact:
        case CheckpointInspected():
            return state.with_checkpoint(replace(checkpoint, verified_at=at))
        case CheckpointWithdrawn():
            status = CheckpointStatus.COLLECTED if checkpoint.usable else checkpoint.status
            checkpoint = replace(
                checkpoint, published_at=None, offered_at=None, dataset=fact.dataset or checkpoint.dataset
            )
            here = state.run.platform
            return state.with_checkpoint(replace(checkpoint, status=status, verified_at=at, platform=here))
        case CheckpointDamaged():
            return state.with_checkpoint(replace(checkpoint, status=CheckpointStatus.DAMAGED))


def _collected(state: RunState, session: Session, fact: OutputCollected, at: datetime) -> RunState:
    checkpoint = Checkpoint(
        run=state.run.id,
        name=fact.checkpoint,
        session=session.number,
        attempt=session.attempt,
        digest=fact.manifest.digest,
        parent=fact.manifest.parent,
        cursor=fact.manifest.cursor,
        size_bytes=fact.manifest.size_bytes,
        manifest=fact.manifest.to_json(),
        status=CheckpointStatus.COLLECTED,
        verified_at=at,
        platform=state.run.platform,
    )
    return replace(state, checkpoints=(*state.checkpoints, checkpoint))


def _published(state: RunState, session: Session, at: datetime) -> RunState:
    name = state.session(session.number, session.attempt).checkpoint
    assert name is not None, f"{session.slug} was published without a checkpoint"
    checkpoint = replace(state.checkpoint(name), platform=state.run.platform)
    if checkpoint.status is not CheckpointStatus.COLLECTED:  # abandoned meanwhile: its dataset exists but is not used
        return state.with_checkpoint(replace(checkpoint, published_at=at, offered_at=None))
    published = replace(checkpoint, status=CheckpointStatus.PUBLISHED, published_at=at, offered_at=None)
    return state.with_checkpoint(published)


def _with_judgement(session: Session, judgement: Judgement) -> Session:
    return replace(
        session,
        outcome=Outcome(judgement.outcome),
        cause=judgement.cause,
        reason=judgement.reason,
        transient=judgement.transient,
        furthest=judgement.furthest,
        steps_lost=judgement.steps_lost,
        excerpt=judgement.excerpt,
        seconds=dict(judgement.seconds),
        kept_s=judgement.kept_s,
        timings=dict(judgement.timings),
    )


_CHANGES: dict[type[SessionFact], Callable[[Session, Any, datetime], Session]] = {
    SessionResized: lambda s, fact, at: replace(s, budget_s=fact.budget_s, limit_s=fact.limit_s),
    PushConfirmed: lambda s, fact, at: replace(
        s, kernel_version=fact.kernel_version, pushed_at=at, reason="", unclear_at=None
    ),
    PushRefused: lambda s, fact, at: replace(s, reason=fact.reason, declined=True, unclear_at=None),
    PushHeld: lambda s, fact, at: replace(s, reason=fact.reason, unclear_at=None),
    PushUnclear: lambda s, fact, at: replace(s, unclear=s.unclear + 1, unclear_at=at),
    PushUnfound: lambda s, fact, at: replace(s, unclear_at=None),
    SeenRunning: lambda s, fact, at: replace(s, running_at=at),
    SeenEnded: lambda s, fact, at: replace(s, ended_at=at, worker=fact.worker, worker_message=fact.message),
    OutputCollected: lambda s, fact, at: replace(
        _with_judgement(s, fact.judgement), reached=fact.manifest.cursor, checkpoint=fact.checkpoint
    ),
    NothingCollected: lambda s, fact, at: replace(_with_judgement(s, fact.judgement), reached=s.start),
    CheckpointDamaged: lambda s, fact, at: replace(
        s,
        outcome=Outcome.FAILED,
        cause=CHECKPOINT_DAMAGED,
        reason=fact.reason,
        transient=True,
        reached=s.start,
        steps_lost=fact.steps_lost,
        checkpoint=None,
        kept_s=0.0,
    ),
    SessionLost: lambda s, fact, at: replace(
        s, outcome=Outcome.LOST, cause=fact.cause, reason=fact.reason, transient=True, ended_at=at, reached=s.start
    ),
    SessionSought: lambda s, fact, at: replace(
        s, outcome=None, cause="", reason="", transient=False, ended_at=None, reached=None, unclear_at=None
    ),
}
