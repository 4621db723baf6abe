"""Chooses what must happen before a session starts: repair, publish, ask the user, wait, plan, push. Pure."""

from datetime import datetime, timedelta

from orchestrator.base.humanize import machine_time
from orchestrator.core.commands import (
    Append,
    Command,
    PollTwin,
    PublishInputs,
    Push,
    ReadQuota,
    VerifyDataset,
    Wait,
)
from orchestrator.core.decide_session import carry_on, dataset_due
from orchestrator.core.origins import await_origin
from orchestrator.core.parking import park_reason
from orchestrator.core.plan import (
    QUOTA_AGAIN_S,
    Limits,
    finished,
    plan_session,
    refresh_time,
    renewed_at,
    resize,
    session_limit_s,
)
from orchestrator.core.retention import needs_verification, unpublished_parent
from orchestrator.core.waits import park_for_quota, too_little_quota
from orchestrator.pipeline.model import Pipeline
from state.facts.run import RunFinished, RunWaiting, RunWoken
from state.model.run_state import RunState, Session
from state.model.snapshot import QuotaRow, Snapshot
from state.model.statuses import InputsStatus, Phase


def begin_session(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
    state = snapshot.state
    if finished(state, pipeline):
        unpublished = next((s for s in state.sessions if s.phase in (Phase.COLLECTED, Phase.PUBLISHING)), None)
        return carry_on(unpublished, snapshot, limits, now) if unpublished else Append((RunFinished(),))
    awaited = await_origin(snapshot, limits, now)
    if awaited is not None:
        return awaited
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
        due = dataset_due(snapshot.watch.dataset_polled_at, limits, now)
        return PublishInputs() if now >= due else Wait(due, "the pipeline's files are being processed")
    blocker = _blocker(snapshot, pipeline, limits, now)
    return blocker or Append((plan_session(state, pipeline, _quota(snapshot, pipeline)),))


def _mend_parent(snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command | None:
    """Return the command that verifies or publishes the parent before a session can start from it, or None."""
    state = snapshot.state
    if (checkpoint := needs_verification(state)) is not None:
        return VerifyDataset(checkpoint.session, checkpoint.attempt)
    unpublished = unpublished_parent(state, mounts_output=pipeline.handoff == "kernel-output")
    return None if unpublished is None else carry_on(unpublished, snapshot, limits, now)


def begin_planned(session: Session, snapshot: Snapshot, pipeline: Pipeline, limits: Limits, now: datetime) -> Command:
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
        due = dataset_due(snapshot.watch.polled_at, limits, now)
        return PollTwin(*twin.key) if now >= due else Wait(due, f"version {twin.twin} of {twin.slug} is also running")
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


def _pause_after_failure(state: RunState, limits: Limits, now: datetime) -> datetime | None:
    """Return when a session that made no progress may be retried; None if at once. An end in the future is ignored."""
    last = state.last
    if last is None or last.checkpoint or last.ended_at is None or state.run.accepted_sessions >= len(state.sessions):
        return None
    if last.ended_at > now:
        return None
    tried = sum(1 for s in state.sessions[state.run.accepted_sessions :] if s.number == last.number)
    return last.ended_at + timedelta(seconds=limits.backoff_s(tried))


def quota_again(snapshot: Snapshot, pipeline: Pipeline, now: datetime) -> Command:
    """Read the quota periodically after the user was told about it.

    Once the renewal time is known, just wait for it.
    """
    quota, again = snapshot.quota, timedelta(seconds=QUOTA_AGAIN_S)
    if quota is None or not timedelta(0) <= now - quota.read_at < again:
        return ReadQuota(pipeline.hardware.quota)
    resumable = not too_little_quota(quota, pipeline.min_session_s) or renewed_at(quota, now) is not None
    return Append((RunWoken(),)) if resumable else Wait(quota.read_at + again, snapshot.state.run.reason)
