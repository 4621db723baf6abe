"""How often a session is looked at: often where something is likely to happen, rarely in between. Pure.

A session changes near a few moments: when it was pushed, when it began, when it has done all there is to do, when it stops
itself, when Kaggle would kill it. From one look to the next passes a part of the time to the nearest of these, before or
after it; so looks grow rarer as it settles, and denser as its end comes near, and an end that comes a little early is noticed
nearly as soon.
"""

from datetime import datetime, timedelta

from orchestrator.core.plan import Limits
from state.model import Phase, PollState, Session

PART = 4
"""Of the time to the nearest moment. A session that began an hour ago and ends in seven is looked at every `calm_s` long since."""

QUEUED = 4
"""Times `poll_s` between two looks at a session that waits for a machine: when it began says when it is going to end."""


def next_poll_at(session: Session, watch: PollState, limits: Limits, now: datetime) -> datetime:
    """When to look at a live session again; a time in the future, which a clock that was wrong has left, is not believed."""
    looked_at = watch.looked_at
    if looked_at is None or looked_at > now:
        return now
    return looked_at + timedelta(seconds=poll_interval_s(session, looked_at, limits, watch.done_at))


def poll_interval_s(session: Session, at: datetime, limits: Limits, done_at: datetime | None = None) -> float:
    """Seconds from a look at that time to the next; `done_at` is when the last step is likely to be done."""
    longest_s = limits.calm_s if session.phase is Phase.RUNNING else min(limits.calm_s, QUEUED * limits.poll_s)
    nearest_s = min((abs((at - moment).total_seconds()) for moment in expected_events(session, done_at)), default=0.0)
    return max(limits.poll_s, min(longest_s, nearest_s / PART))


def expected_events(session: Session, done_at: datetime | None) -> tuple[datetime, ...]:
    """When something is likely to happen to it, as far as is known."""
    begun_at = session.running_at
    if begun_at is None:
        return () if session.pushed_at is None else (session.pushed_at,)
    ends = (begun_at + timedelta(seconds=seconds) for seconds in (session.budget_s, session.limit_s))
    return (begun_at, *ends, *([] if done_at is None else [done_at]))
