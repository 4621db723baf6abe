"""Decides a run's next command. Pure: reads no clock, disk, network, database or log."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from orchestrator.core.commands import Append, Command, Prune, Publish, Wait
from orchestrator.core.decide_request import next_answer
from orchestrator.core.decide_session import blocking_session, carry_on, dataset_due, waits_for_a_person
from orchestrator.core.decide_start import begin_planned, begin_session, quota_again
from orchestrator.core.plan import WEEK, Limits
from orchestrator.core.retention import prunable
from orchestrator.core.waits import HOURS, SLOT, park_for_wait, wait_is_over, waited_too_long
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.names import name_in
from state.facts.run import RunParked, RunWoken
from state.facts.session import SessionLost
from state.model.run_state import RUN_CANCELLED, Checkpoint, RunState, Session
from state.model.snapshot import Snapshot
from state.model.statuses import Phase, RunStatus


def decide(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    """Return the one next command for this run: the first that there is, in this order of priorities."""
    return (
        _answer_user(snapshot)
        or _rest(snapshot, limits, now)
        or _tidy_up(snapshot, pipeline, limits, now)
        or _give_up(snapshot, limits)
        or _ask_user(snapshot, limits)
        or _go_on(snapshot, pipeline, limits, now)
    )


def _go_on(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    """Return what brings an open run on, in this order; while it could only wait, there is work in the background."""
    current = blocking_session(snapshot.state, pipeline)
    command = (
        _wake_parked(snapshot.state)
        or _continue_session(current, snapshot, limits, now)
        or _stay_halted(current, snapshot, pipeline, now)
        or _start_session(current, snapshot, pipeline, limits, now)
    )
    return (_background_work(snapshot, pipeline, limits, now) or command) if isinstance(command, Wait) else command


# --- any run -----------------------------------------------------------------


def _answer_user(snapshot: Snapshot) -> Command | None:
    return next_answer(snapshot.requests, snapshot.state)


def _rest(snapshot: Snapshot, limits: Limits, now: datetime) -> Command | None:
    """Wait after a failure. A recorded delay beyond the longest valid one is ignored: the clock was ahead then."""
    again_at = snapshot.watch.not_before
    if again_at is None or not now < again_at <= now + timedelta(seconds=limits.rest_s_max):
        return None
    return Wait(again_at, f"trying again: {snapshot.watch.failure}")


def _tidy_up(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command | None:
    """Return what is left to do for a run that is over; None for an open run."""
    status = snapshot.state.run.status
    if status is RunStatus.FINISHED:
        return _prune(snapshot, pipeline) or Wait(None, f"the run is {status}")
    return _await_cancelled(snapshot, pipeline, limits, now) if status is RunStatus.CANCELLED else None


def _await_cancelled(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    """Poll the session of a cancelled run until it ends, since it occupies a slot until then; do nothing else.

    A session that is given up here may still run: it is looked for again if the run is taken back.
    """
    state = snapshot.state
    last = state.last
    if last is None or not last.phase.on_kaggle:
        return _prune(snapshot, pipeline) or Wait(None, f"the run is {state.run.status}")
    unmoved = last.phase is not Phase.RUNNING and waited_too_long(snapshot.watch, last, limits)
    if unmoved or snapshot.watch.failures >= limits.give_up_failures:
        reason = "the run was cancelled"
        return Append((SessionLost(number=last.number, attempt=last.attempt, reason=reason, cause=RUN_CANCELLED),))
    return carry_on(last, snapshot, limits, now)


def _give_up(snapshot: Snapshot, limits: Limits) -> Command | None:
    """Give up what the platform has not answered often enough and for long enough; neither alone suffices.

    The session is recorded as lost if the platform has long reported that its kernel does not exist; otherwise the run is
    parked.
    """
    state, watch = snapshot.state, snapshot.watch
    enough = watch.failures >= limits.give_up_failures and watch.failing_s >= limits.give_up_s
    if not enough or state.run.status is RunStatus.PARKED:
        return None
    last = state.last
    awaited = last is not None and last.phase.awaited
    if last is not None and awaited and watch.absences >= limits.give_up_failures:
        reason = f"{watch.failure}, and has said so for hours"
        return Append((SessionLost(number=last.number, attempt=last.attempt, reason=reason),))
    hint = f"; relay resume {state.run.id} --abandon-session gives the session up" if awaited else ""
    reason = f"{name_in(state.run.pipeline)} has not answered for long: {watch.failure}{hint}"
    return Append((RunParked(reason=reason, remedy=f"relay resume {state.run.id}"),))


def _ask_user(snapshot: Snapshot, limits: Limits) -> Command | None:
    """Park the run if it has waited too long for what only the user can bring about."""
    parked = park_for_wait(snapshot, limits)
    return None if parked is None else Append((parked,))


# --- an open run -------------------------------------------------------------


def _wake_parked(state: RunState) -> Command | None:
    """Wake a parked run if the event that it waited for has happened."""
    woken = state.run.status is RunStatus.PARKED and wait_is_over(state)
    return Append((RunWoken(),)) if woken else None


def _continue_session(current: Session | None, snapshot: Snapshot, limits: Limits, now: datetime) -> Command | None:
    """Carry on the session under way, also while the run is parked or waits."""
    if current is None or current.phase is Phase.PLANNED or waits_for_a_person(current, snapshot.state):
        return None
    return carry_on(current, snapshot, limits, now)


def _stay_halted(current: Session | None, snapshot: Snapshot, pipeline: Pipeline, now: datetime) -> Command | None:
    """Keep a parked or waiting run from starting a session; None if it may start one.

    A run that is parked until there is a slot goes on trying, and one that is parked until there are hours goes on
    asking.
    """
    run = snapshot.state.run
    if run.status is RunStatus.WAITING:
        return Wait(run.waiting_until, run.reason) if _wait_lasts(snapshot.state, now) else Append((RunWoken(),))
    if run.status is not RunStatus.PARKED or (run.awaits == SLOT and current is not None):
        return None
    return quota_again(snapshot, pipeline, now) if run.awaits == HOURS else Wait(None, run.reason)


def _wait_lasts(state: RunState, now: datetime) -> bool:
    """Return True while the run's wait lasts.

    A wait that was recorded at a future time is ignored: the clock was ahead then.
    """
    until = state.run.waiting_until
    return until is not None and state.run.updated_at <= now < until <= now + WEEK


def _start_session(
    current: Session | None, snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime
) -> Command:
    """Push the planned session, or plan the next one."""
    if current is not None:
        return begin_planned(current, snapshot, pipeline, limits, now)
    return begin_session(snapshot, pipeline, limits, now)


def _background_work(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command | None:
    """Return work that can be done while the run only waits for time to pass, or None."""
    state = snapshot.state
    for session in state.sessions:
        if session.phase is Phase.COLLECTED:
            return Publish(*session.key)
        if session.phase is Phase.PUBLISHING and not waits_for_a_person(session, state):
            due = now >= dataset_due(snapshot.watch.dataset_polled_at, limits, now)
            return Publish(*session.key) if due else None
    return _prune(snapshot, pipeline, asked=False)


def _prune(snapshot: Snapshot, pipeline: Pipeline, *, asked: bool = True) -> Command | None:
    """Prune one checkpoint, or mark the user's prune request done if none is left. `asked`: only on such a request."""
    request = next((request for request in snapshot.requests if request.verb == "prune"), None)
    candidates: Sequence[Checkpoint] = ()
    if request or not asked:
        keep, kept_at = pipeline.keep_checkpoints, pipeline.kept_places
        everywhere = request is not None
        candidates = prunable(snapshot.state, keep, snapshot.requests, snapshot.needed, kept_at, everywhere=everywhere)
    if candidates:
        return Prune(candidates[0].name)
    return Append((), request.id) if request else None
