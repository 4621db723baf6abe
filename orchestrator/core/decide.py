"""Decides a run's next command. Pure: reads no clock, disk, network, database or log."""

from datetime import datetime, timedelta
from typing import assert_never

from orchestrator.base.humanize import machine_time
from orchestrator.core.commands import (
    Append,
    Collect,
    Command,
    FindPush,
    Poll,
    PollTwin,
    Prune,
    Publish,
    PublishInputs,
    Push,
    ReadQuota,
    VerifyDataset,
    Wait,
)
from orchestrator.core.parking import park_reason
from orchestrator.core.plan import (
    QUOTA_AGAIN_S,
    WEEK,
    Limits,
    finished,
    plan_session,
    refresh_time,
    renewed_at,
    resize,
    session_limit_s,
)
from orchestrator.core.polling import next_poll_at
from orchestrator.core.retention import needs_verification, prunable, unpublished_parent
from orchestrator.core.waits import (
    HOURS,
    SLOT,
    park_for_quota,
    park_for_wait,
    too_little_quota,
    wait_is_over,
    waited_too_long,
)
from orchestrator.pipeline.model import Pipeline
from state.facts import (
    Fact,
    RunCancelled,
    RunFinished,
    RunParked,
    RunResumed,
    RunTakenOver,
    RunWaiting,
    RunWoken,
    SessionLost,
)
from state.model import (
    InputsStatus,
    Phase,
    QuotaRow,
    Request,
    Run,
    RunState,
    RunStatus,
    Session,
    Snapshot,
)


def decide(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    """Return the one next command for this run."""
    state, watch = snapshot.state, snapshot.watch
    asked = [request for request in snapshot.requests if request.verb != "prune"]
    if asked:
        return _apply_request(asked[0], state)
    if watch.not_before is not None and now < watch.not_before <= now + timedelta(seconds=limits.rest_s_max):
        return Wait(watch.not_before, f"trying again: {watch.failure}")
    if state.run.status is RunStatus.FINISHED:
        return _prune(snapshot, pipeline) or Wait(None, f"the run is {state.run.status}")
    if state.run.status is RunStatus.CANCELLED:
        return _await_cancelled(snapshot, pipeline, limits, now)
    if _should_give_up(snapshot, limits) and state.run.status is not RunStatus.PARKED:
        return _given_up(snapshot, limits)
    if (fact := park_for_wait(snapshot, limits)) is not None:
        return Append((fact,))
    command = _next(snapshot, pipeline, limits, now)
    if isinstance(command, Wait):
        return _background_work(snapshot, pipeline, limits, now) or command
    return command


def _next(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    state = snapshot.state
    current = _current(state, pipeline)
    if state.run.status is RunStatus.PARKED and wait_is_over(state):
        return Append((RunWoken(),))
    if current is not None and current.phase is not Phase.PLANNED and not _waits_for_a_person(current, state):
        return _carry_on(current, snapshot, limits, now)
    match state.run.status:
        case RunStatus.PARKED if state.run.awaits == SLOT and current is not None:
            return _begin_planned(current, snapshot, pipeline, limits, now)
        case RunStatus.PARKED if state.run.awaits == HOURS:
            return _hours_again(snapshot, pipeline, now)
        case RunStatus.PARKED:
            return Wait(None, state.run.reason)
        case RunStatus.WAITING:
            return Wait(state.run.waiting_until, state.run.reason) if _waits(state, now) else Append((RunWoken(),))
        case RunStatus.ACTIVE if current is not None:
            return _begin_planned(current, snapshot, pipeline, limits, now)
        case RunStatus.ACTIVE:
            return _begin_session(snapshot, pipeline, limits, now)
        case RunStatus.FINISHED | RunStatus.CANCELLED:
            return Wait(None, f"the run is {state.run.status}")
        case _:
            assert_never(state.run.status)


def _waits(state: RunState, now: datetime) -> bool:
    """Return True while the run's wait lasts.

    A wait that was recorded at a future time is ignored: the clock was ahead then.
    """
    until = state.run.waiting_until
    return until is not None and state.run.updated_at <= now < until <= now + WEEK


def _hours_again(snapshot: Snapshot, pipeline: Pipeline, now: datetime) -> Command:
    """Read the quota periodically after the user was told about it.

    Once the renewal time is known, just wait for it.
    """
    quota, again = snapshot.quota, timedelta(seconds=QUOTA_AGAIN_S)
    if quota is None or not timedelta(0) <= now - quota.read_at < again:
        return ReadQuota(pipeline.hardware.quota)
    resumable = not too_little_quota(quota, pipeline.min_session_s) or renewed_at(quota, now) is not None
    return Append((RunWoken(),)) if resumable else Wait(quota.read_at + again, snapshot.state.run.reason)


def _waits_for_a_person(session: Session, state: RunState) -> bool:
    """Return True if publishing a parked run's checkpoint failed under every name that is tried without asking."""
    publishing = session.phase is Phase.PUBLISHING and session.checkpoint is not None
    return (
        state.run.status is RunStatus.PARKED and publishing and state.checkpoint(session.checkpoint or "").wants_person
    )


def _current(state: RunState, pipeline: Pipeline) -> Session | None:
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


def _carry_on(session: Session, snapshot: Snapshot, limits: Limits, now: datetime) -> Command:
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
            due = _due(snapshot.watch.dataset_looked_at, limits, now)
            return Publish(*session.key) if now >= due else Wait(due, f"{session.checkpoint} is being processed")
        case Phase.PLANNED | Phase.PUBLISHED | Phase.NO_CHECKPOINT | Phase.LOST:
            raise AssertionError(f"{session.slug} is {session.phase}: there is nothing to carry on")
        case _:
            assert_never(session.phase)


def _due(looked_at: datetime | None, limits: Limits, now: datetime) -> datetime:
    """Return when to poll a dataset next. Ignores a last poll in the future, which a wrong clock recorded."""
    return now if looked_at is None or looked_at > now else looked_at + timedelta(seconds=limits.poll_s)


def _begin_session(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    state = snapshot.state
    if finished(state, pipeline):
        unpublished = next((s for s in state.sessions if s.phase in (Phase.COLLECTED, Phase.PUBLISHING)), None)
        return _carry_on(unpublished, snapshot, limits, now) if unpublished else Append((RunFinished(),))
    repair = _mend_parent(snapshot, pipeline, limits, now)
    if repair is not None:
        return repair
    parked = park_reason(state, pipeline)
    if parked is not None:
        return Append((parked,))
    pause = _pause_after_failure(state, limits, now)
    if pause is not None and now < pause:
        return Wait(pause, f"trying again after: {state.last.reason if state.last else ''}")
    if pipeline.inputs.files and state.run.inputs is not InputsStatus.PUBLISHED:
        due = _due(snapshot.watch.dataset_looked_at, limits, now)
        return PublishInputs() if now >= due else Wait(due, "the pipeline's files are being processed")
    blocker = _blocker(snapshot, pipeline, limits, now)
    return blocker or Append((plan_session(state, pipeline, _quota(snapshot, pipeline)),))


def _mend_parent(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command | None:
    """Return the command that verifies or publishes the parent before a session can start from it, or None."""
    state = snapshot.state
    if (checkpoint := needs_verification(state)) is not None:
        return VerifyDataset(checkpoint.session, checkpoint.attempt)
    unpublished = unpublished_parent(state, mounts_output=pipeline.handoff == "kernel-output")
    return None if unpublished is None else _carry_on(unpublished, snapshot, limits, now)


def _begin_planned(session: Session, snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    """Push the planned session once a slot and quota are free, resized to the quota that is left by then."""
    blocker = _blocker(snapshot, pipeline, limits, now)
    if blocker is not None:
        return blocker
    other = resize(snapshot.state, session, pipeline, _quota(snapshot, pipeline))
    return Push(*session.key) if other is None else Append((other,))


def _blocker(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command | None:
    """Return what must happen before the next push, or None.

    That is a twin's end, a free slot, a fresh quota reading or a quota refresh.
    """
    twin = next((session for session in snapshot.state.sessions if session.twin_lives), None)
    if twin is not None:
        due = _due(snapshot.watch.looked_at, limits, now)
        return PollTwin(*twin.key) if now >= due else Wait(due, f"version {twin.twin} of {twin.slug} runs besides")
    if not _has_slot(snapshot, pipeline, limits, now):
        until = now + timedelta(seconds=limits.poll_s)
        return Wait(until, "other runs' sessions take the account's slots", wants_slot=True)
    if not pipeline.hardware.quota:
        return None
    quota = snapshot.quota
    if quota is None or not is_quota_fresh(snapshot, limits, now):
        return ReadQuota(pipeline.hardware.quota)
    if session_limit_s(pipeline, quota) >= pipeline.min_session_s:
        return None
    left = f"{machine_time(quota.left_s or 0.0)} of this week's {quota.accelerator} quota are left"
    source = " by relay's own count, since Kaggle does not say" if quota.assumed else ""
    why = f"{left}{source}, too little to start a session"
    waiting = RunWaiting(until=refresh_time(quota, now).isoformat(), reason=why)
    return Append((park_for_quota(snapshot, limits, why) or waiting,))


def _quota(snapshot: Snapshot, pipeline: Pipeline) -> QuotaRow | None:
    return snapshot.quota if pipeline.hardware.quota else None


def _has_slot(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> bool:
    """Return True if a slot is free for this run. Runs that have waited longer, and still wait, are served first."""
    mine = (min(snapshot.watch.slot_since or now, now), snapshot.state.run.id)
    claims = [other for other in snapshot.waiting if now - timedelta(seconds=limits.claim_s) < other.seen_at <= now]
    ahead = sum((other.since, other.run) < mine for other in claims)
    return snapshot.others_live + ahead < pipeline.slots


def is_quota_fresh(snapshot: Snapshot, limits: Limits, now: datetime) -> bool:
    """Return True if the quota reading is recent, and newer than the last session's end (by the order of facts)."""
    quota = snapshot.quota
    return (
        quota is not None
        and not quota.outdated
        and timedelta(0) <= now - quota.read_at < timedelta(seconds=limits.quota_fresh_s)
    )


def _park(state: RunState, reason: str, verb: str) -> Append:
    return Append((RunParked(reason=reason, remedy=f"relay {verb} {state.run.id}"),))


def _pause_after_failure(state: RunState, limits: Limits, now: datetime) -> datetime | None:
    """Return when a session that gained nothing may be retried; None if at once. An end in the future is ignored."""
    last = state.last
    if last is None or last.checkpoint or last.ended_at is None or state.run.judged >= len(state.sessions):
        return None
    if last.ended_at > now:
        return None
    tried = sum(1 for s in state.sessions[state.run.judged :] if s.number == last.number)
    return last.ended_at + timedelta(seconds=limits.backoff_s(tried))


# --- giving up ---------------------------------------------------------------


def _should_give_up(snapshot: Snapshot, limits: Limits) -> bool:
    """Return True if calls have failed often enough and for long enough; neither alone suffices."""
    watch = snapshot.watch
    return watch.failures >= limits.give_up_failures and watch.failing_s >= limits.give_up_s


def _given_up(snapshot: Snapshot, limits: Limits) -> Append:
    """Record the session as lost if Kaggle has long reported that its kernel does not exist; otherwise park the run."""
    state, watch = snapshot.state, snapshot.watch
    last = state.last
    awaited = last is not None and last.phase.awaited
    if last is not None and awaited and watch.absences >= limits.give_up_failures:
        reason = f"{watch.failure}, and has said so for hours"
        return Append((SessionLost(number=last.number, attempt=last.attempt, reason=reason),))
    hint = f"; relay resume {state.run.id} --abandon-session gives the session up" if awaited else ""
    return _park(state, f"Kaggle has not answered for long: {watch.failure}{hint}", "resume")


def _await_cancelled(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    """Poll the session of a cancelled run until it ends, since it occupies a slot until then; do nothing else."""
    state = snapshot.state
    last = state.last
    if last is None or not last.phase.on_kaggle:
        return _prune(snapshot, pipeline) or Wait(None, f"the run is {state.run.status}")
    unmoved = last.phase is not Phase.RUNNING and waited_too_long(snapshot.watch, last, limits)
    if unmoved or snapshot.watch.failures >= limits.give_up_failures:
        return Append((SessionLost(number=last.number, attempt=last.attempt, reason="the run was cancelled"),))
    return _carry_on(last, snapshot, limits, now)


def _apply_request(request: Request, state: RunState) -> Append:
    """Return the facts that answer a user's request; a request that no longer applies is answered without facts."""
    status = state.run.status
    match request.verb:
        case "pause" if status in (RunStatus.ACTIVE, RunStatus.WAITING):
            return Append((RunParked(reason="paused by you", remedy=f"relay resume {state.run.id}"),), request.id)
        case "resume" | "retry" if status in (RunStatus.PARKED, RunStatus.WAITING):
            return Append((*_taken_over(request, state.run), *_resumed(request, state)), request.id)
        case "resume" | "retry" if status is RunStatus.ACTIVE and "abandon_session" in request.arguments:
            return Append((*_taken_over(request, state.run), *_abandoned(request, state)), request.id)
        case "resume" if status is RunStatus.ACTIVE:
            return Append(_taken_over(request, state.run), request.id)
        case "cancel" if status in (RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED):
            return Append((RunCancelled(),), request.id)
        case _:
            return Append((), request.id)


def _taken_over(request: Request, run: Run) -> tuple[RunTakenOver, ...]:
    """Return the fact that the user hands the run to the home folder named in the request; empty if none is named."""
    home = request.arguments.get("take_over", "")
    above = max(run.generation, run.overtaken_by) + 1
    generation = max(above, int(request.made_at.timestamp()))  # higher than that of any earlier home folder
    return (RunTakenOver(home=home, generation=generation),) if home else ()


def _abandoned(request: Request, state: RunState) -> tuple[Fact, ...]:
    """Return the fact that the session is lost, since the user abandons it (for example after deleting its kernel)."""
    last = state.last
    if last is None or not last.phase.awaited or last.slug != request.arguments["abandon_session"]:
        return ()
    return (SessionLost(number=last.number, attempt=last.attempt, reason="you abandoned it"),)


def _resumed(request: Request, state: RunState) -> tuple[Fact, ...]:
    """Resume, without a session that the user abandons.

    An older checkpoint is accepted only if no session is under way.
    """
    checkpoint, last = request.arguments.get("checkpoint", ""), state.last
    resumed = RunResumed(checkpoint=checkpoint)
    if last is None:
        return (resumed,)
    if last.phase.awaited and "abandon_session" in request.arguments:
        return (SessionLost(number=last.number, attempt=last.attempt, reason="you abandoned it"), resumed)
    if last.phase is Phase.PLANNED and checkpoint:
        reason = "you chose an older checkpoint to go on from"
        return (SessionLost(number=last.number, attempt=last.attempt, reason=reason), resumed)
    return () if checkpoint and last.phase.under_way else (resumed,)


def _background_work(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command | None:
    """Return work that can be done while the run only waits for time to pass, or None."""
    state = snapshot.state
    for session in state.sessions:
        if session.phase is Phase.COLLECTED:
            return Publish(*session.key)
        if session.phase is Phase.PUBLISHING and not _waits_for_a_person(session, state):
            due = now >= _due(snapshot.watch.dataset_looked_at, limits, now)
            return Publish(*session.key) if due else None
    return _prune(snapshot, pipeline, asked=False)


def _prune(snapshot: Snapshot, pipeline: Pipeline, *, asked: bool = True) -> Command | None:
    """Prune one checkpoint, or mark the user's prune request done if none is left. `asked`: only on such a request."""
    request = next((request for request in snapshot.requests if request.verb == "prune"), None)
    candidates = prunable(snapshot.state, pipeline.keep_checkpoints, snapshot.requests) if request or not asked else ()
    if candidates:
        return Prune(candidates[0].name)
    return Append((), request.id) if request else None
