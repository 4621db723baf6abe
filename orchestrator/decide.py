"""What to do next. A function of what is known, and of nothing else: no clock, disk, network, database or log."""

from datetime import datetime, timedelta
from typing import assert_never

from orchestrator.commands import (
    Collect,
    Command,
    Inspect,
    Look,
    Prune,
    Publish,
    PublishInputs,
    Push,
    ReadQuota,
    Record,
    Rest,
)
from orchestrator.pipeline import Pipeline
from orchestrator.plan import Limits, finished, plan_session, refresh_time, session_limit_s
from orchestrator.safekeeping import doubtful, forgiven, removable, to_publish
from state.facts import RunCancelled, RunFinished, RunParked, RunResumed, RunWaiting, RunWoken
from state.model import (
    InputsStatus,
    Outcome,
    Phase,
    Request,
    RunState,
    RunStatus,
    Session,
    Snapshot,
)

BROKEN_TRAINING = ("not-a-number", "loss-spike", "reward-collapse", "no-progress", "lora-still-zero", "base-moved")
"""Causes that a second try can only repeat, since training is deterministic."""


def decide(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    """The one next command for this run."""
    state, watch = snapshot.state, snapshot.watch
    asked = [request for request in snapshot.requests if request.verb != "prune"]
    if asked:
        return _obey(asked[0], state)
    if watch.not_before is not None and now < watch.not_before:
        return Rest(watch.not_before, f"trying again: {watch.failure}")
    if state.run.status in (RunStatus.FINISHED, RunStatus.CANCELLED):
        return _tidy(snapshot, pipeline) or Rest(None, f"the run is {state.run.status}")
    if _hopeless(snapshot, limits, now) and state.run.status is not RunStatus.PARKED:
        return _park(state, f"Kaggle has not answered for long: {watch.failure}", "resume")
    command = _next(snapshot, pipeline, limits, now)
    if isinstance(command, Rest):
        return _leisure(snapshot, pipeline, limits, now) or command
    return command


def _next(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    state = snapshot.state
    current = _current(state, pipeline)
    if current is not None and not (state.run.status is not RunStatus.ACTIVE and current.phase is Phase.PLANNED):
        return _carry_on(current, snapshot, limits, now)
    match state.run.status:
        case RunStatus.PARKED:
            return Rest(None, state.run.reason)
        case RunStatus.WAITING:
            until = state.run.waiting_until
            return Rest(until, state.run.reason) if until and now < until else Record((RunWoken(),))
        case RunStatus.ACTIVE:
            return _begin_session(snapshot, pipeline, limits, now)
        case RunStatus.FINISHED | RunStatus.CANCELLED:
            return Rest(None, f"the run is {state.run.status}")
        case _:
            assert_never(state.run.status)


def _current(state: RunState, pipeline: Pipeline) -> Session | None:
    """The session that holds up the next one; with `handoff: kernel-output` publishing does not, except at the end."""
    last = state.last
    if last is None or last.phase.over:
        return None
    publishing = last.phase in (Phase.COLLECTED, Phase.PUBLISHING)
    if publishing and pipeline.handoff == "kernel-output" and not finished(state, pipeline):
        return None
    return last


def _carry_on(session: Session, snapshot: Snapshot, limits: Limits, now: datetime) -> Command:
    match session.phase:
        case Phase.PLANNED | Phase.PUSHING:
            return Push(*session.key)
        case Phase.PUSHED | Phase.QUEUED | Phase.RUNNING:
            due = _due(snapshot.watch.looked_at, limits, now)
            return Look(*session.key) if now >= due else Rest(due, f"session {session.number} is {session.phase}")
        case Phase.ENDED:
            return Collect(*session.key)
        case Phase.COLLECTED:
            return Publish(*session.key)
        case Phase.PUBLISHING:
            due = _due(snapshot.watch.dataset_looked_at, limits, now)
            return Publish(*session.key) if now >= due else Rest(due, f"{session.checkpoint} is being processed")
        case Phase.PUBLISHED | Phase.SPENT | Phase.LOST:
            raise AssertionError(f"{session.slug} is over")
        case _:
            assert_never(session.phase)


def _due(looked_at: datetime | None, limits: Limits, now: datetime) -> datetime:
    return now if looked_at is None else looked_at + timedelta(seconds=limits.poll_s)


def _begin_session(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    state, quota = snapshot.state, snapshot.quota
    if finished(state, pipeline):
        return Record((RunFinished(),))
    mending = _mend_parent(snapshot, pipeline, limits, now)
    if mending is not None:
        return mending
    parked = trouble(state, pipeline)
    if parked is not None:
        return Record((parked,))
    pause = _pause_after_failure(state, limits)
    if pause is not None and now < pause:
        return Rest(pause, f"trying again after: {state.last.reason if state.last else ''}")
    if pipeline.inputs.files and state.run.inputs is not InputsStatus.PUBLISHED:
        due = _due(snapshot.watch.dataset_looked_at, limits, now)
        return PublishInputs() if now >= due else Rest(due, "the pipeline's files are being processed")
    if snapshot.others_live >= pipeline.hardware.slots:
        return Rest(now + timedelta(seconds=limits.poll_s), "another run's session takes the account's slot")
    if pipeline.hardware.quota:
        if quota is None or not _fresh(snapshot, limits, now):
            return ReadQuota(pipeline.hardware.quota)
        if session_limit_s(pipeline, quota) < pipeline.worth_s:
            until = refresh_time(quota, now)
            left = f"{quota.left_s or 0.0:.0f} s of this week's {quota.accelerator} quota are left"
            return Record((RunWaiting(until=until.isoformat(), reason=f"{left}, too few to start a session"),))
    return Record((plan_session(state, pipeline, quota if pipeline.hardware.quota else None),))


def _mend_parent(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command | None:
    """What has to happen to the checkpoint before a session can start from it again."""
    state = snapshot.state
    if (checkpoint := doubtful(state)) is not None:
        return Inspect(checkpoint.session, checkpoint.attempt)
    unpublished = to_publish(state, mounts_output=pipeline.handoff == "kernel-output")
    return None if unpublished is None else _carry_on(unpublished, snapshot, limits, now)


def _fresh(snapshot: Snapshot, limits: Limits, now: datetime) -> bool:
    """Whether the quota was read lately, and after the last session ended."""
    quota, last = snapshot.quota, snapshot.state.last
    assert quota is not None
    if last is not None and last.ended_at is not None and quota.read_at < last.ended_at:
        return False
    return now - quota.read_at < timedelta(seconds=limits.quota_fresh_s)


def trouble(state: RunState, pipeline: Pipeline) -> RunParked | None:
    """Why a person has to look before another session is started, or None."""
    sessions = [s for s in state.sessions[state.run.judged :] if not forgiven(state, s)]
    if not sessions:
        return None
    last = sessions[-1]
    if last.outcome is Outcome.TIMED_OUT and pipeline.on_timeout == "park":
        place = f"{last.reached.stage} step {last.reached.step}" if last.reached else "the beginning"
        return _parked(state, f"session {last.number} was stopped at its time limit; {place} is safe", last)
    if last.outcome is Outcome.FAILED and not last.transient:
        before = next((s for s in reversed(sessions[:-1]) if s.outcome is Outcome.FAILED), None)
        again = before is not None and (before.cause, before.furthest) == (last.cause, last.furthest)
        if again or last.cause in BROKEN_TRAINING:
            twice = " twice at the same step" if again else ""
            return _parked(state, f"session {last.number} failed{twice}: {last.reason}", last)
    barren = 0
    for session in reversed(sessions):
        if session.checkpoint:
            break
        barren += 1
    stuck = [s.outcome in (Outcome.YIELDED, Outcome.TIMED_OUT) for s in sessions[-2:]]
    if barren >= 2 and all(stuck):
        return _parked(state, "two sessions gained no step: a step and a save do not fit into a session", last)
    if barren >= pipeline.session.attempts:
        return _parked(state, f"{barren} attempts gained nothing; the last: {last.reason}", last)
    return None


def _parked(state: RunState, reason: str, session: Session) -> RunParked:
    verb = "resume" if session.outcome is Outcome.TIMED_OUT else "retry"
    return RunParked(reason=reason, remedy=f"relay {verb} {state.run.id}", excerpt=session.excerpt)


def _park(state: RunState, reason: str, verb: str) -> Record:
    return Record((RunParked(reason=reason, remedy=f"relay {verb} {state.run.id}"),))


def _pause_after_failure(state: RunState, limits: Limits) -> datetime | None:
    """When a session that gained nothing may be tried again."""
    last = state.last
    if last is None or last.checkpoint or last.ended_at is None or state.run.judged >= len(state.sessions):
        return None
    tried = sum(1 for s in state.sessions[state.run.judged :] if s.number == last.number)
    return last.ended_at + timedelta(seconds=limits.backoff_s(tried))


def _hopeless(snapshot: Snapshot, limits: Limits, now: datetime) -> bool:
    watch = snapshot.watch
    if watch.failing_since is None:
        return False
    long = now - watch.failing_since >= timedelta(seconds=limits.give_up_s)
    return long and watch.failures >= limits.give_up_failures


def _obey(request: Request, state: RunState) -> Record:
    """What a person asked for; a request that no longer fits is answered by nothing."""
    status = state.run.status
    match request.verb:
        case "pause" if status in (RunStatus.ACTIVE, RunStatus.WAITING):
            return Record((RunParked(reason="paused by you", remedy=f"relay resume {state.run.id}"),), request.id)
        case "resume" | "retry" if status in (RunStatus.PARKED, RunStatus.WAITING):
            return Record((RunResumed(checkpoint=request.arguments.get("checkpoint", "")),), request.id)
        case "cancel" if status not in (RunStatus.FINISHED, RunStatus.CANCELLED):
            return Record((RunCancelled(),), request.id)
        case _:
            return Record((), request.id)


def _leisure(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command | None:
    """What can be done while there is nothing to wait for but time."""
    state = snapshot.state
    for session in state.sessions:
        if session.phase is Phase.COLLECTED:
            return Publish(*session.key)
        if session.phase is Phase.PUBLISHING:
            due = now >= _due(snapshot.watch.dataset_looked_at, limits, now)
            return Publish(*session.key) if due else None
    return _tidy(snapshot, pipeline, asked=False)


def _tidy(snapshot: Snapshot, pipeline: Pipeline, *, asked: bool = True) -> Command | None:
    """Remove a checkpoint that may go; what a person asked for is done when there is none left. `asked`: only then."""
    wish = next((request for request in snapshot.requests if request.verb == "prune"), None)
    removed = removable(snapshot.state, pipeline.keep, snapshot.requests) if wish or not asked else ()
    if removed:
        return Prune(removed[0].name)
    return Record((), wish.id) if wish else None
