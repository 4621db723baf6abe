"""Starts a session's kernel, or adopts the one that exists."""

import itertools
from datetime import datetime, timedelta

from kaggle_kernels import build
from orchestrator.base.errors import (
    Ambiguous,
    BadInput,
    NameTaken,
    NoSlot,
    OutOfQuota,
    Overtaken,
    Permanent,
    Refused,
    RelayError,
    Transient,
)
from orchestrator.core.origins import origin_place
from orchestrator.core.plan import inputs_place, order_for, refresh_time
from orchestrator.engine.effects.context import EffectContext, EffectResult
from orchestrator.engine.effects.find_push import ForeignKernel, looked_for, never_pushed, seen_as_ours
from orchestrator.engine.effects.unknown_sessions import OlderAlive, refuse_beside_others
from orchestrator.engine.ownership import open_to_parking, overtaken_unawares, take_over
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import SOURCES_NOT_ACCEPTED, KernelPush
from state.facts.base import Fact
from state.facts.run import RunParked, RunWaiting
from state.facts.session import PushConfirmed, PushHeld, PushRefused, PushUnclear, PushUnsent, SessionLost
from state.model.poll_state import PollState
from state.model.run_state import RunState, Session
from state.model.snapshot import Snapshot
from state.model.statuses import Phase


def push(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Start the session's kernel unless Kaggle has it. Call only if no earlier push of it can still arrive.

    If the push is known not to have reached Kaggle, the session returns to its previous state.
    """
    number, attempt = session.key
    try:
        adopted = _adopt_earlier_push(snapshot, session, shell)
        if adopted is not None:
            return EffectResult(adopted)
        if snapshot.state.run.foreign_push_possible:
            return _search_first(session, shell)
        return _pushed(snapshot, session, pipeline, shell)
    except NameTaken as error:
        return _name_taken(snapshot.state, session, error)
    except Overtaken as error:
        remedy = take_over(snapshot.state.run)
        parked = RunParked(reason=str(error), remedy=remedy, generation=error.generation)
        return EffectResult((PushUnsent(number=number, attempt=attempt, reason=str(error)), parked))
    except (Refused, Transient, BadInput) as error:
        return EffectResult((PushUnsent(number=number, attempt=attempt, reason=str(error)),), failure=error)


def _pushed(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    number, attempt = session.key
    _stop_given_up(snapshot.state, session, shell)
    try:
        refuse_beside_others(snapshot, session, shell)
        pushed = shell.gateway.push(_kernel(snapshot, session, pipeline, shell))
    except OlderAlive as error:
        held = PushHeld(number=number, attempt=attempt, reason=str(error))
        return EffectResult((held,), _claim_slot(snapshot, shell, str(error)))
    except NoSlot as error:
        watch = _claim_slot(snapshot, shell, str(error))
        return EffectResult((PushRefused(number=number, attempt=attempt, reason=str(error)),), watch)
    except OutOfQuota as error:
        until = error.until or _refresh(snapshot, shell)
        refused = PushRefused(number=number, attempt=attempt, reason=str(error))
        return EffectResult((refused, RunWaiting(until=until.isoformat(), reason=str(error))))
    except Ambiguous as error:
        return _resolve_unclear(snapshot.state, session, shell, error)
    except Permanent as error:
        if remedy := _remedy_at_origin(error, snapshot.state, session):
            raise Permanent(f"{error}. {remedy}") from error
        raise
    return EffectResult((PushConfirmed(number=number, attempt=attempt, kernel_version=pushed.version),))


def _stop_given_up(state: RunState, session: Session, shell: EffectContext) -> None:
    """Stop the sessions right before this one that were given up and may still run, if the platform can do that.

    Those before them were stopped when the next one was pushed. Raises Transient if the platform does not answer.
    """
    if not shell.gateway.can_stop:
        return
    before = [one for one in state.sessions if one.key < session.key and one.platform == session.platform]
    for one in itertools.takewhile(lambda one: one.phase is Phase.LOST, reversed(before)):
        if one.pushed_at is not None or one.unclear:
            shell.gateway.stop(one.slug, one.kernel_version)


def _remedy_at_origin(error: Permanent, state: RunState, session: Session) -> str:
    """Return what to do if the session mounts another run's checkpoint, whose dataset may be what Kaggle lacks."""
    origin = state.run.origin
    if origin is None or session.parent is not None or SOURCES_NOT_ACCEPTED not in str(error):
        return ""
    return (
        f"The checkpoint that this run begins from belongs to {origin.run}, and relay retry does not publish that one again: "
        f"if its dataset was deleted, type relay cancel {state.run.id} and begin another run from a checkpoint that exists"
    )


def _adopt_earlier_push(snapshot: Snapshot, session: Session, shell: EffectContext) -> tuple[Fact, ...] | None:
    """Return the kernel that an earlier push left; raises Overtaken if this home folder never pushed this session."""
    adopted = seen_as_ours(snapshot.state, session, shell, snapshot.watch)
    if adopted is not None and shell.identity and never_pushed(session) and not adopted.older:
        raise overtaken_unawares(f"the kernel {session.slug}", snapshot.state.run)
    return None if adopted is None else adopted.facts


def _search_first(session: Session, shell: EffectContext) -> EffectResult:
    """Treat the session as possibly pushed before the run was taken over or restored from a backup.

    Kaggle may not show that kernel yet, so relay searches for it, as for any unclear push, before it pushes.
    """
    reason = "the run was taken over or restored from a backup: the session may have been pushed before that"
    fact = PushUnclear(number=session.number, attempt=session.attempt, reason=reason)
    return EffectResult((fact,), looked_for(session, shell))


def _resolve_unclear(state: RunState, session: Session, shell: EffectContext, error: Ambiguous) -> EffectResult:
    """Look for the kernel at once; if it is not visible yet, it may still appear."""
    try:
        adopted = seen_as_ours(state, session, shell)
    except (Refused, Transient):
        adopted = None
    if adopted is not None:
        return EffectResult(adopted.facts)
    fact = PushUnclear(number=session.number, attempt=session.attempt, reason=str(error))
    return EffectResult((fact,), looked_for(session, shell))


def _name_taken(state: RunState, session: Session, error: RelayError) -> EffectResult:
    """Give the session up: the next attempt has another name. Park the run if the name belongs to a foreign kernel."""
    lost = SessionLost(number=session.number, attempt=session.attempt, reason=str(error))
    if not isinstance(error, ForeignKernel) or not open_to_parking(state.run):
        return EffectResult((lost,))
    return EffectResult((lost, RunParked(reason=str(error), remedy=f"relay retry {state.run.id}")))


def _refresh(snapshot: Snapshot, shell: EffectContext) -> datetime:
    now = shell.clock.now()
    return refresh_time(snapshot.quota, now) if snapshot.quota else now + timedelta(hours=1)


def _kernel(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> KernelPush:
    state = snapshot.state
    datasets, kernels = list(pipeline.dataset_sources), []
    if pipeline.inputs.files:
        datasets.append(f"{state.run.owner}/{inputs_place(state.run)}")
    if session.parent is not None:
        parent = state.checkpoint(session.parent)
        if pipeline.handoff == "kernel-output" and parent.published_at is None:
            kernels.append(f"{state.run.owner}/{state.session(parent.session, parent.attempt).slug}")
        else:
            datasets.append(f"{state.run.owner}/{parent.place}")
    elif state.run.origin is not None:
        datasets.append(f"{state.run.owner}/{origin_place(state.run.origin, snapshot.origin)}")
    return KernelPush(
        slug=session.slug,
        source=build.script(order_for(state, session, pipeline, shell.identity)),
        machine_shape=pipeline.hardware.promise.machine_shape,
        dataset_sources=tuple(datasets),
        kernel_sources=tuple(kernels),
        model_sources=pipeline.model_sources,
        internet=pipeline.internet,
        timeout_s=int(session.limit_s),
    )


def _claim_slot(snapshot: Snapshot, shell: EffectContext, why: str) -> PollState:
    """Return the poll state while another session has the slot: retried later, keeping the run's place in the queue."""
    now = shell.clock.now()
    return PollState(
        not_before=now + timedelta(seconds=shell.limits.slot_s),
        failure=why,
        slot_since=min(snapshot.watch.slot_since or now, now),
        slot_seen_at=now,
    )
