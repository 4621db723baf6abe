"""State machine of runs and sessions. Pure: two tables hold all transitions, one function per fact changes the values.

Theory of operation: a fact records something that happened; it is written once and never changed. `apply` folds one
fact into the state of its run. The tables list the facts allowed in each phase (sessions) or status (runs); a missing
entry raises IllegalTransition, so a corrupt log or a bug stops the program before it does harm. The database rows store
the result of the fold.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from state.chronology import put_right
from state.facts import (
    CheckpointDamaged,
    CheckpointInspected,
    CheckpointPruned,
    CheckpointPublished,
    CheckpointWithdrawn,
    DamageFound,
    DatasetDropped,
    DatasetOffered,
    Fact,
    InputsDropped,
    InputsIntended,
    InputsOffered,
    InputsPublished,
    Judgement,
    NothingCollected,
    OutputCollected,
    PublishIntended,
    PushConfirmed,
    PushHeld,
    PushIntended,
    PushRefused,
    PushUnclear,
    PushUnfound,
    PushUnsent,
    RunCancelled,
    RunFinished,
    RunParked,
    RunResumed,
    RunStarted,
    RunTakenOver,
    RunWaiting,
    RunWoken,
    SeenEnded,
    SeenQueued,
    SeenRunning,
    SessionFact,
    SessionLost,
    SessionPlanned,
    SessionResized,
    TwinEnded,
    TwinSeen,
)
from state.model import Checkpoint, CheckpointStatus, InputsStatus, Outcome, Phase, Run, RunState, RunStatus, Session


class IllegalTransition(Exception):
    """The current phase or status does not allow this fact."""


CHECKPOINT_DAMAGED = "checkpoint-damaged"
"""Cause recorded for a session whose progress is lost because its checkpoint was damaged later."""

# --- the tables --------------------------------------------------------------

SESSION_TRANSITIONS: dict[Phase, dict[type[SessionFact], Phase]] = {
    Phase.PLANNED: {SessionResized: Phase.PLANNED, PushIntended: Phase.PUSHING, SessionLost: Phase.LOST},
    Phase.PUSHING: {
        PushConfirmed: Phase.PUSHED,
        PushRefused: Phase.PLANNED,
        PushHeld: Phase.PLANNED,
        PushUnsent: Phase.PLANNED,
        PushUnclear: Phase.PUSHING,
        PushUnfound: Phase.PLANNED,
        SessionLost: Phase.LOST,
    },
    Phase.PUSHED: {
        SeenQueued: Phase.QUEUED,
        SeenRunning: Phase.RUNNING,
        SeenEnded: Phase.ENDED,
        SessionLost: Phase.LOST,
    },
    Phase.QUEUED: {SeenRunning: Phase.RUNNING, SeenEnded: Phase.ENDED, SessionLost: Phase.LOST},
    Phase.RUNNING: {SeenEnded: Phase.ENDED, SessionLost: Phase.LOST},
    Phase.ENDED: {OutputCollected: Phase.COLLECTED, NothingCollected: Phase.NO_CHECKPOINT, SessionLost: Phase.LOST},
    Phase.COLLECTED: {PublishIntended: Phase.PUBLISHING, CheckpointDamaged: Phase.NO_CHECKPOINT},
    Phase.PUBLISHING: {
        DatasetOffered: Phase.PUBLISHING,
        DatasetDropped: Phase.PUBLISHING,
        CheckpointPublished: Phase.PUBLISHED,
        CheckpointDamaged: Phase.NO_CHECKPOINT,
    },
    Phase.PUBLISHED: {
        CheckpointInspected: Phase.PUBLISHED,
        CheckpointWithdrawn: Phase.COLLECTED,
        CheckpointDamaged: Phase.NO_CHECKPOINT,
    },
    Phase.NO_CHECKPOINT: {},
    Phase.LOST: {},
}

RUN_TRANSITIONS: dict[RunStatus, dict[type[Fact], RunStatus]] = {
    RunStatus.ACTIVE: {
        InputsIntended: RunStatus.ACTIVE,
        InputsOffered: RunStatus.ACTIVE,
        InputsDropped: RunStatus.ACTIVE,
        InputsPublished: RunStatus.ACTIVE,
        RunTakenOver: RunStatus.ACTIVE,
        RunWaiting: RunStatus.WAITING,
        RunParked: RunStatus.PARKED,
        RunFinished: RunStatus.FINISHED,
        RunCancelled: RunStatus.CANCELLED,
    },
    RunStatus.WAITING: {
        RunWoken: RunStatus.ACTIVE,
        RunResumed: RunStatus.ACTIVE,
        RunTakenOver: RunStatus.WAITING,
        RunParked: RunStatus.PARKED,
        RunCancelled: RunStatus.CANCELLED,
    },
    RunStatus.PARKED: {
        RunResumed: RunStatus.ACTIVE,
        RunWoken: RunStatus.ACTIVE,
        RunTakenOver: RunStatus.PARKED,
        RunCancelled: RunStatus.CANCELLED,
    },
    RunStatus.FINISHED: {},
    RunStatus.CANCELLED: {},
}

# --- the fold ----------------------------------------------------------------


def begin(fact: RunStarted, at: datetime) -> RunState:
    """Return the state of a run whose first fact this is."""
    return RunState(
        Run(
            id=fact.run,
            name=fact.pipeline_name,
            owner=fact.owner,
            accelerator=fact.accelerator,
            status=RunStatus.ACTIVE,
            pipeline=fact.pipeline,
            pipeline_path=fact.pipeline_path,
            pipeline_digest=fact.pipeline_digest,
            created_at=at,
            updated_at=at,
            home=fact.home,
        )
    )


def apply(state: RunState, fact: Fact, at: datetime) -> RunState:
    """Return the state after the fact. Raises IllegalTransition if the fact is not allowed."""
    if at < state.run.updated_at:
        state = put_right(state, at)
    state = replace(state, run=replace(state.run, updated_at=at))
    match fact:
        case SessionPlanned():
            return _planned(state, fact, at)
        case TwinSeen() | TwinEnded():
            return _twin(state, fact, at)
        case SessionFact():
            return _session(state, fact, at)
        case CheckpointPruned():
            pruned = state.checkpoint(fact.checkpoint)
            return state.with_checkpoint(replace(pruned, status=CheckpointStatus.PRUNED))
        case DamageFound():
            return state
        case _:
            return _run(state, fact, at)


def fold(facts: Iterable[tuple[datetime, Fact]]) -> RunState:
    """Return the state that results from a run's whole log."""
    log = iter(facts)
    at, first = next(log)
    if not isinstance(first, RunStarted):
        raise IllegalTransition(f"a run begins with {RunStarted.name}, not with {first.name}")
    state = begin(first, at)
    for at, fact in log:
        state = apply(state, fact, at)
    return state


def _run(state: RunState, fact: Fact, at: datetime) -> RunState:
    run = state.run
    try:
        status = RUN_TRANSITIONS[run.status][type(fact)]
    except KeyError:
        raise IllegalTransition(f"{run.id}: {fact.name} cannot follow {run.status}") from None
    if isinstance(fact, RunTakenOver):
        run = replace(run, home=fact.home, generation=fact.generation, unsure=True)
        return _search_restarted(replace(state, run=run))
    run = replace(run, status=status, waiting_until=None, reason="", remedy="", excerpt="", awaits="")
    match fact:
        case InputsIntended() | InputsOffered() | InputsDropped() | InputsPublished():
            run = _inputs(run, fact, at)
        case RunWaiting():
            run = replace(run, waiting_until=datetime.fromisoformat(fact.until), reason=fact.reason)
        case RunParked():
            run = replace(run, reason=fact.reason, remedy=fact.remedy, excerpt=fact.excerpt, awaits=fact.awaits)
            run = replace(run, overtaken_by=max(run.overtaken_by, fact.generation))
        case RunResumed():
            run = replace(run, judged=len(state.sessions), inputs_offered_at=None)
            state = _upload_allowed_again(_resumed_from(state, fact.checkpoint) if fact.checkpoint else state)
        case _:
            pass
    return replace(state, run=run)


def _search_restarted(state: RunState) -> RunState:
    """Restart the search for an unclear push: the previous home folder may have repeated it."""
    for session in state.sessions:
        if session.unclear_at is not None:
            state = state.with_session(replace(session, unclear_at=None))
    return state


def _inputs(run: Run, fact: InputsIntended | InputsOffered | InputsDropped | InputsPublished, at: datetime) -> Run:
    """Update the run's fields about the dataset of the pipeline's own files."""
    match fact:
        case InputsIntended():
            return replace(run, inputs=InputsStatus.PUBLISHING)
        case InputsOffered():
            return replace(run, inputs_dataset=fact.dataset, inputs_offered_at=at)
        case InputsDropped():
            return replace(run, inputs_dataset=fact.dataset, inputs_offered_at=None)
        case InputsPublished():
            return replace(run, inputs=InputsStatus.PUBLISHED, inputs_offered_at=None)


def _upload_allowed_again(state: RunState) -> RunState:
    """Allow a new upload, after the user resumed the run, of datasets that Kaggle accepted but never showed."""
    for checkpoint in state.checkpoints:
        if checkpoint.offered_at is not None:
            state = state.with_checkpoint(replace(checkpoint, offered_at=None))
    return state


def _resumed_from(state: RunState, name: str) -> RunState:
    """Abandon every checkpoint that is newer than `name`."""
    newer = False
    for checkpoint in state.checkpoints:
        if newer and checkpoint.usable:
            state = state.with_checkpoint(replace(checkpoint, status=CheckpointStatus.ABANDONED))
        newer = newer or checkpoint.name == name
    return state


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
            return replace(state, run=replace(state.run, unsure=False))
        case OutputCollected():
            return _collected(state, session, fact, at)
        case CheckpointPublished():
            return _published(state, session, at)
        case DatasetOffered() | DatasetDropped():
            return _uploaded(state, session, fact, at)
        case CheckpointInspected() | CheckpointWithdrawn() | CheckpointDamaged():
            return _verified(state, session, fact, at)
        case _:
            return state


def _uploaded(state: RunState, session: Session, fact: DatasetOffered | DatasetDropped, at: datetime) -> RunState:
    """Record the slug under which the checkpoint was uploaded, and when Kaggle accepted it."""
    assert session.checkpoint is not None, f"{session.slug} has no checkpoint to offer"
    since = at if isinstance(fact, DatasetOffered) else None
    checkpoint = replace(state.checkpoint(session.checkpoint), dataset=fact.dataset, offered_at=since)
    return state.with_checkpoint(checkpoint)


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
            return state.with_checkpoint(replace(checkpoint, status=status, verified_at=at))
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
    )
    return replace(state, checkpoints=(*state.checkpoints, checkpoint))


def _published(state: RunState, session: Session, at: datetime) -> RunState:
    name = state.session(session.number, session.attempt).checkpoint
    assert name is not None, f"{session.slug} was published without a checkpoint"
    checkpoint = state.checkpoint(name)
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
        s, outcome=Outcome.LOST, cause="lost", reason=fact.reason, transient=True, ended_at=at, reached=s.start
    ),
}


def diagram() -> str:
    """Return both tables as one Mermaid state diagram, shown in docs/how-it-works.md."""
    lines = ["stateDiagram-v2", "    direction LR", "    state run {", "        [*] --> active: run_started"]
    for status, row in RUN_TRANSITIONS.items():
        lines += [f"        {status} --> {to}: {fact.name}" for fact, to in row.items()]
    lines += ["    }", "    state session {", "        [*] --> planned: session_planned"]
    for phase, cells in SESSION_TRANSITIONS.items():
        lines += [f"        {phase} --> {to}: {fact.name}" for fact, to in cells.items()]
    return "\n".join([*lines, "    }"])
