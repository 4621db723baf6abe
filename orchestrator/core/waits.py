"""Waits for what only Kaggle can bring: how long each has lasted, when it is too long, and what a person is told then. Pure.

A wait is measured by looks: each adds the time since the look before it, at most a few usual intervals of it. So neither a clock
that was set nor a laptop that slept makes a wait too long, and a daemon that is replaced goes on counting. docs/parked.md has the
bounds and what comes after each.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.base.humanize import duration
from orchestrator.core.commands import Command, Poll, Push, ReadQuota
from orchestrator.core.plan import QUOTA_AGAIN_S, Limits, renewed_at
from orchestrator.core.polling import QUEUED
from state.facts import Fact, PushRefused, RunParked
from state.model import Phase, PollState, QuotaRow, RunState, RunStatus, Session, Snapshot

SHARE = 2.0
"""Intervals between two looks that count at most: what is longer was sleep, or a clock that was set."""

QUEUE, END, SLOT, HOURS = "queue", "end", "slot", "hours"
"""What is awaited: a machine, the end of a session, a slot of the account, the renewal of the week's hours."""


def of_session(session: Session) -> str:
    """What is awaited of a session that Kaggle has: `queue` or `end`, and its name; empty where nothing is."""
    match session.phase:
        case Phase.PUSHED | Phase.QUEUED:
            return f"{QUEUE} {session.slug}"
        case Phase.RUNNING:
            return f"{END} {session.slug}"
        case _:
            return ""


def after(
    command: Command,
    snapshot: Snapshot,
    facts: tuple[Fact, ...],
    quota: QuotaRow | None,
    min_session_s: float,
    now: datetime,
) -> str | None:
    """What is awaited once the command was carried out; None: what was awaited before still is, and this was no look at it."""
    match command:
        case Poll(number, attempt):
            return of_session(snapshot.state.session(number, attempt))
        case Push():
            return SLOT if any(isinstance(fact, PushRefused) for fact in facts) else ""
        case ReadQuota() if quota is not None and short(quota, min_session_s) and renewed_at(quota, now) is None:
            return HOURS
        case ReadQuota() if snapshot.watch.awaiting == HOURS:
            return ""
        case _:
            return None


def short(quota: QuotaRow, min_session_s: float) -> bool:
    """Whether too few hours are left to start a session."""
    return quota.left_s is not None and quota.left_s < min_session_s


def counted(watch: PollState, awaiting: str, limits: Limits, now: datetime) -> PollState:
    """What is remembered once a look has shown that this is (still) awaited."""
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


def too_long(watch: PollState, session: Session, limits: Limits) -> bool:
    """Whether Kaggle has said for too long that a session waits for a machine, or that it runs."""
    awaiting = of_session(session)
    most_s = session.limit_s + limits.overdue_s if awaiting.startswith(END) else limits.queue_s
    return bool(awaiting) and watch.awaiting == awaiting and watch.waited_s >= most_s


# --- what a person is told -------------------------------------------------------


def told(snapshot: Snapshot, limits: Limits) -> RunParked | None:
    """What only a person can see to now: a session that gets no machine, or a slot that somebody else keeps."""
    state, watch = snapshot.state, snapshot.watch
    last = state.last
    if last is None or state.run.status is not RunStatus.ACTIVE:
        return None
    place = f"https://www.kaggle.com/code/{state.run.owner}"
    if last.phase in (Phase.PUSHED, Phase.QUEUED) and too_long(watch, last, limits):
        reason = (
            f"session {last.number} has waited {duration(watch.waited_s)} for a machine: look at {place}/{last.slug}; relay goes "
            f"on by itself once it runs, and relay resume {state.run.id} --abandon-session gives it up after you deleted it there"
        )
        return RunParked(reason=reason, remedy=f"relay resume {state.run.id}", awaits=QUEUE)
    if last.phase is Phase.PLANNED and watch.awaiting == SLOT and watch.waited_s >= limits.slot_wait_s:
        reason = (
            f"session {last.number} has waited {duration(watch.waited_s)} for a slot, longer than any session may last "
            f"({last.reason}): end what runs at {place}; relay goes on by itself once there is a slot"
        )
        return RunParked(reason=reason, remedy=f"relay resume {state.run.id}", awaits=SLOT)
    return None


def not_renewed(snapshot: Snapshot, limits: Limits, why: str) -> RunParked | None:
    """What a person is told of hours that Kaggle does not renew; None as long as that need not worry anybody."""
    watch, run = snapshot.watch, snapshot.state.run
    if run.status is not RunStatus.ACTIVE or watch.awaiting != HOURS or watch.waited_s < limits.renewal_s:
        return None
    reason = (
        f"{why}; Kaggle has named no time of renewal that is still to come for {duration(watch.waited_s)}: look at "
        "https://www.kaggle.com/settings and at this machine's clock; relay goes on by itself once there are hours again"
    )
    return RunParked(reason=reason, remedy=f"relay resume {run.id}", awaits=HOURS)


def came_after_all(state: RunState) -> bool:
    """Whether what a parked run awaited of its session has come, so that it goes on by itself."""
    last = state.last
    match state.run.awaits:
        case "queue":
            return last is None or last.phase not in (Phase.PUSHED, Phase.QUEUED)
        case "slot":
            return last is None or last.phase not in (Phase.PLANNED, Phase.PUSHING)
        case _:
            return False
