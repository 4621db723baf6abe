"""State machine of runs and sessions. Pure: two tables hold all transitions, one function per fact changes the values.

Theory of operation: a fact records something that happened; it is written once and never changed. `apply` folds one
fact into the state of its run. The tables list the facts allowed in each phase (sessions) or status (runs); a missing
entry raises IllegalTransition, so a corrupt log or a bug stops the program before it does harm. The database rows store
the result of the fold.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from state.chronology import correct_times
from state.facts.base import Fact, SessionFact
from state.facts.checkpoint import CheckpointPruned, DamageFound, ModelPublished
from state.facts.run import (
    InputsDropped,
    InputsIntended,
    InputsOffered,
    InputsPublished,
    OriginCarried,
    OriginDropped,
    OriginFound,
    OriginOffered,
    PipelineChanged,
    PipelineKept,
    PlatformLeft,
    RunParked,
    RunResumed,
    RunStarted,
    RunTakenOver,
    RunWaiting,
)
from state.failures import IllegalTransition
from state.model.left_platform import LeftPlatform
from state.model.run_origin import OFFERED, PUBLISHED, RunOrigin
from state.model.run_state import Run, RunState
from state.model.statuses import CheckpointStatus, InputsStatus, RunStatus
from state.session_changes import apply_to_session
from state.transitions import RUN_TRANSITIONS


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
            origin=fact.origin,
            inputs=InputsStatus.PUBLISHED if fact.inputs_dataset else InputsStatus.NONE,
            inputs_dataset=fact.inputs_dataset,
        )
    )


def apply(state: RunState, fact: Fact, at: datetime) -> RunState:
    """Return the state after the fact. Raises IllegalTransition if the fact is not allowed."""
    if isinstance(fact, ModelPublished):
        return state  # also after the run's end, whose time is that of its last change
    if at < state.run.updated_at:
        state = correct_times(state, at)
    state = replace(state, run=replace(state.run, updated_at=at))
    match fact:
        case SessionFact():
            return apply_to_session(state, fact, at)
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
        run = replace(run, home=fact.home, generation=fact.generation, foreign_push_possible=True)
        return _search_restarted(replace(state, run=run))
    if isinstance(fact, PipelineChanged | PipelineKept | PlatformLeft):
        return _pipeline(state, fact)
    run = replace(run, status=status, waiting_until=None, reason="", remedy="", excerpt="", awaits="")
    match fact:
        case InputsIntended() | InputsOffered() | InputsDropped() | InputsPublished():
            run = _inputs(run, fact, at)
        case OriginFound() | OriginOffered() | OriginDropped() | OriginCarried():
            run = replace(run, origin=_origin(run, fact))
        case RunWaiting():
            run = replace(run, waiting_until=datetime.fromisoformat(fact.until), reason=fact.reason)
        case RunParked():
            run = replace(run, reason=fact.reason, remedy=fact.remedy, excerpt=fact.excerpt, awaits=fact.awaits)
            run = replace(run, overtaken_by=max(run.overtaken_by, fact.generation))
        case RunResumed():
            run = replace(run, accepted_sessions=len(state.sessions), inputs_offered_at=None)
            state = _upload_allowed_again(_resumed_from(state, fact.checkpoint) if fact.checkpoint else state)
        case _:
            pass
    return replace(state, run=run)


def _pipeline(state: RunState, fact: PipelineChanged | PipelineKept | PlatformLeft) -> RunState:
    """Record a change of the pipeline, or of the platform, which leaves the run's status as it is."""
    match fact:
        case PlatformLeft():
            return _left(state, fact)
        case PipelineChanged():
            values = {name: getattr(fact, name) for name in ("pipeline", "pipeline_digest", "pipeline_path")}
            return replace(state, run=replace(state.run, **values))
        case PipelineKept():
            return state


def _left(state: RunState, fact: PlatformLeft) -> RunState:
    """Record that the run goes on elsewhere. What is published there counts as its own only once it is published again."""
    run = state.run
    before = LeftPlatform(owner=run.owner, accelerator=run.accelerator, site=fact.site)
    origin = None if run.origin is None else replace(run.origin, carried=None, carrying=None)
    run = replace(
        run,
        owner=fact.owner,
        accelerator=fact.accelerator,
        left_platforms=(*run.left_platforms, before),
        inputs=InputsStatus.NONE,
        inputs_dataset="",
        inputs_offered_at=None,
        origin=origin,
    )
    state = replace(state, run=run)
    for checkpoint in state.checkpoints:
        if checkpoint.status is CheckpointStatus.COLLECTED:  # its upload, if it has begun, is made again here
            state = state.with_checkpoint(replace(checkpoint, platform=run.platform, offered_at=None))
    return state


def _origin(run: Run, fact: OriginFound | OriginOffered | OriginDropped | OriginCarried) -> RunOrigin:
    """Return the run's origin with the checkpoint that the other run has now, or with the dataset that it has here."""
    origin = run.origin
    if origin is None or (origin.found and isinstance(fact, OriginFound)):
        raise IllegalTransition(f"{run.id}: {fact.name} without a checkpoint that the run waits for")
    match fact:
        case OriginFound():
            return replace(origin, checkpoint=fact.checkpoint, digest=fact.digest, dataset=fact.dataset)
        case OriginOffered():
            return replace(origin, carried=fact.dataset, carrying=OFFERED)
        case OriginDropped():
            return replace(origin, carried=fact.dataset, carrying=None)
        case OriginCarried():
            return replace(origin, carried=fact.dataset, carrying=PUBLISHED)


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
