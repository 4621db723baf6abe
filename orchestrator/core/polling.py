"""Computes how often a session is polled: often near expected events, rarely in between. Pure.

A session changes near a few moments: its push, its start, its last step, its own stop, and Kaggle's limit. The poll
interval is a fixed part of the time to the nearest of them, before or after. So polls become rarer as a session settles
and denser towards its end, and an end that comes a little early is noticed nearly as soon.
"""

from datetime import datetime, timedelta

from orchestrator.core.plan import Limits
from state.model.poll_state import PollState
from state.model.run_state import Session
from state.model.statuses import Phase

INTERVAL_SHARE = 4
"""Divisor: poll interval = time to the nearest expected event / INTERVAL_SHARE, capped at `calm_s`."""

QUEUED = 4
"""Maximum poll interval of a queued session, as a multiple of `poll_s`: its start determines its end."""


def next_poll_at(session: Session, watch: PollState, limits: Limits, now: datetime) -> datetime:
    """Return when to poll a live session next. Ignores a last poll in the future, which a wrong clock recorded."""
    polled_at = watch.polled_at
    if polled_at is None or polled_at > now:
        return now
    return polled_at + timedelta(seconds=poll_interval_s(session, polled_at, limits, watch.done_at))


def poll_interval_s(session: Session, at: datetime, limits: Limits, done_at: datetime | None = None) -> float:
    """Return the seconds from a poll at `at` to the next; `done_at` is when the last step is likely to be done."""
    longest_s = limits.calm_s if session.phase is Phase.RUNNING else min(limits.calm_s, QUEUED * limits.poll_s)
    nearest_s = min((abs((at - moment).total_seconds()) for moment in expected_events(session, done_at)), default=0.0)
    return max(limits.poll_s, min(longest_s, nearest_s / INTERVAL_SHARE))


def expected_events(session: Session, done_at: datetime | None) -> tuple[datetime, ...]:
    """Return the known times at which the session is likely to change."""
    begun_at = session.running_at
    if begun_at is None:
        return () if session.pushed_at is None else (session.pushed_at,)
    ends = (begun_at + timedelta(seconds=seconds) for seconds in (session.budget_s, session.limit_s))
    return (begun_at, *ends, *([] if done_at is None else [done_at]))
