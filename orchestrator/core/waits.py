"""Tracks waits for Kaggle: how long each has lasted, when it is too long, and the message for the user. Pure.

A wait is measured in polls: each adds the time since the previous one, capped at a few usual intervals. So neither a
changed clock nor a sleeping laptop makes a wait too long, and a restarted daemon continues the count. docs/parked.md
lists the bounds and what follows each.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.base.humanize import duration
from orchestrator.core.commands import Command, Poll, Push, ReadQuota
from orchestrator.core.plan import QUOTA_AGAIN_S, Limits, renewed_at
from orchestrator.core.polling import QUEUED
from orchestrator.platforms.names import KAGGLE, name_in
from state.facts.base import Fact
from state.facts.run import RunParked
from state.facts.session import PushRefused
from state.model.poll_state import PollState
from state.model.run_state import RunState, Session
from state.model.snapshot import QuotaRow, Snapshot
from state.model.statuses import Phase, RunStatus

SHARE = 2.0
"""Maximum time counted between two polls, in usual intervals: more was sleep, or a clock that was set."""

QUEUE, END, SLOT, HOURS = "queue", "end", "slot", "hours"
"""Kinds of waits: for a machine, a session's end, a slot of the account, the renewal of the weekly quota."""


def awaited_event(session: Session) -> str:
    """Return what relay waits for in a pushed session: `queue` or `end` and its name, or an empty string."""
    match session.phase:
        case Phase.PUSHED | Phase.QUEUED:
            return f"{QUEUE} {session.slug}"
        case Phase.RUNNING:
            return f"{END} {session.slug}"
        case _:
            return ""


def awaited_after(
    command: Command,
    snapshot: Snapshot,
    facts: tuple[Fact, ...],
    quota: QuotaRow | None,
    min_session_s: float,
    now: datetime,
) -> str | None:
    """Return what the run waits for after a command; None if the command was no poll and leaves the wait unchanged."""
    match command:
        case Poll(number, attempt):
            return awaited_event(snapshot.state.session(number, attempt))
        case Push():
            return SLOT if any(isinstance(fact, PushRefused) for fact in facts) else ""
        case ReadQuota() if (
            quota is not None and too_little_quota(quota, min_session_s) and renewed_at(quota, now) is None
        ):
            return HOURS
        case ReadQuota() if snapshot.watch.awaiting == HOURS:
            return ""
        case _:
            return None


def too_little_quota(quota: QuotaRow, min_session_s: float) -> bool:
    """Return True if too little quota is left to start a session."""
    return quota.left_s is not None and quota.left_s < min_session_s


def with_poll_counted(watch: PollState, awaiting: str, limits: Limits, now: datetime) -> PollState:
    """Return the poll state after a poll has shown that the run (still) waits for `awaiting`."""
    if watch.awaiting != awaiting:
        return replace(watch, awaiting=awaiting, waited_s=0.0, waited_at=now)
    passed_s = 0.0 if watch.waited_at is None else (now - watch.waited_at) / timedelta(seconds=1)
    share_s = SHARE * _interval_s(awaiting, limits)
    return replace(watch, waited_s=watch.waited_s + min(share_s, max(0.0, passed_s)), waited_at=now)


def _interval_s(awaiting: str, limits: Limits) -> float:
    match awaiting:
        case "slot":
            return limits.slot_s
        case "hours":
            return QUOTA_AGAIN_S
        case _:
            return max(limits.calm_s, QUEUED * limits.poll_s)


def waited_too_long(watch: PollState, session: Session, limits: Limits) -> bool:
    """Return True if the platform has reported a session as queued or running for too long."""
    awaiting = awaited_event(session)
    most_s = session.limit_s + limits.overdue_s if awaiting.startswith(END) else limits.queue_s
    return bool(awaiting) and watch.awaiting == awaiting and watch.waited_s >= most_s


# --- parking the run ---------------------------------------------------------


def park_for_wait(snapshot: Snapshot, limits: Limits) -> RunParked | None:
    """Return the fact that parks the run if only the user can help: no machine, or no slot, for too long. Else None."""
    state, watch = snapshot.state, snapshot.watch
    last = state.last
    if last is None or state.run.status is not RunStatus.ACTIVE:
        return None
    on = name_in(state.run.pipeline)
    account = f"https://www.kaggle.com/code/{state.run.owner}" if on == KAGGLE else f"{on}'s queue"
    if last.phase in (Phase.PUSHED, Phase.QUEUED) and waited_too_long(watch, last, limits):
        place = f"{account}/{last.slug}" if on == KAGGLE else f"{last.slug} in {account}"
        reason = (
            f"session {last.number} has waited {duration(watch.waited_s)} for a machine: look at {place}; "
            f"relay continues by itself once it runs, and relay resume {state.run.id} --abandon-session gives it up "
            f"after you {'deleted' if on == KAGGLE else 'cancelled'} it there"
        )
        return RunParked(reason=reason, remedy=f"relay resume {state.run.id}", awaits=QUEUE)
    if last.phase is Phase.PLANNED and watch.awaiting == SLOT and watch.waited_s >= limits.slot_wait_s:
        reason = (
            f"session {last.number} has waited {duration(watch.waited_s)} for a slot, longer than any session may last "
            f"({last.reason}): end what runs at {account}; relay continues by itself once there is a slot"
        )
        return RunParked(reason=reason, remedy=f"relay resume {state.run.id}", awaits=SLOT)
    return None


def park_for_quota(snapshot: Snapshot, limits: Limits, why: str) -> RunParked | None:
    """Return the fact that parks the run because Kaggle does not renew the quota; None if that is not yet a problem."""
    watch, run = snapshot.watch, snapshot.state.run
    if run.status is not RunStatus.ACTIVE or watch.awaiting != HOURS or watch.waited_s < limits.renewal_s:
        return None
    reason = (
        f"{why}; Kaggle has named no time of renewal that is still to come for {duration(watch.waited_s)}: look at "
        "https://www.kaggle.com/settings and at this machine's clock; relay continues by itself once there are hours "
        "again"
    )
    return RunParked(reason=reason, remedy=f"relay resume {run.id}", awaits=HOURS)


def wait_is_over(state: RunState) -> bool:
    """Return True if the event that a parked run waited for has happened, so that it resumes by itself."""
    last = state.last
    match state.run.awaits:
        case "queue":
            return last is None or last.phase not in (Phase.PUSHED, Phase.QUEUED)
        case "slot":
            return last is None or last.phase not in (Phase.PLANNED, Phase.PUSHING)
        case _:
            return False
