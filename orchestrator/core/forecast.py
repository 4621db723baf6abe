"""Forecasts when a run finishes and how much quota it uses, by planning its sessions as `decide` would. Pure.

Three walks, with the usual, the shortest and the longest durations, give the forecast and its bounds. A session stops
where `core.forecast_session` says, is as long as `plan.session_limit_s` allows, and waits for the quota refresh if too
little is left. Not foreseen: outages, failed sessions, and this machine being asleep.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from orchestrator.base.humanize import machine_time
from orchestrator.core.durations import Times
from orchestrator.core.estimates import Estimate
from orchestrator.core.forecast_session import (
    LiveSession,
    Pace,
    RunPosition,
    left,
    pace,
    rest_of_session,
    whole_session,
)
from orchestrator.core.weekly_quota import Hours
from orchestrator.pipeline.model import Pipeline
from stages.session.budget import Budget

SESSIONS_MAX = 1000
"""Maximum number of sessions in a forecast."""
PLANNED_MAX = 50
"""Maximum number of sessions whose times a forecast tells: a quota week has fewer."""


class Unforeseeable(Exception):
    """Raised if no end can be forecast; the message is a sentence with the reason."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Forecast for a run. Times are aware; durations are in seconds."""

    finish_at: datetime
    finish_earliest_at: datetime
    finish_latest_at: datetime
    training_s: float
    """Seconds of training steps that are left, without overhead."""
    quota_s: float
    """Quota seconds that remain to be used: all of each future session, and the rest of the live one."""
    quota_low_s: float
    quota_high_s: float
    sessions: int
    """Number of sessions still to begin."""
    sessions_most: int
    """Number of sessions still to begin in the slowest walk."""
    weeks: int
    """Number of quota refreshes that the run has to wait for."""
    weeks_most: int
    session_ends_at: datetime | None
    basis: Literal["measured", "assumed", "mixed"]
    planned: tuple[tuple[datetime, datetime], ...] = ()
    """When sessions will have a machine, from now on, oldest first: at most `PLANNED_MAX` of the usual walk."""


def forecast(pipeline: Pipeline, times: Times, standing: RunPosition, hours: Hours | None) -> Forecast:
    """Forecast the run.

    Raises Unforeseeable if a stage that is left has no known step time, or if no session would make progress.
    """
    unknown = [name for name in left(pipeline, standing.position) if name not in times.step_s]
    if unknown:
        raise Unforeseeable(f"no time is known of a step of {', '.join(unknown)}{_elsewhere(pipeline)}")
    usual = walk(pipeline, pace(times, "usual_s"), standing, hours)
    early = walk(pipeline, pace(times, "low_s"), standing, hours)
    late = walk(pipeline, pace(times, "high_s"), standing, hours)
    return Forecast(
        finish_at=usual.at,
        finish_earliest_at=min(early.at, usual.at),
        finish_latest_at=max(late.at, usual.at),
        training_s=usual.training_s,
        quota_s=usual.quota_s,
        quota_low_s=early.quota_s,
        quota_high_s=late.quota_s,
        sessions=usual.sessions,
        sessions_most=late.sessions,
        weeks=usual.weeks,
        weeks_most=late.weeks,
        session_ends_at=usual.session_ends_at,
        basis=_basis([times.step_s[name] for name in left(pipeline, standing.position)]),
        planned=usual.planned,
    )


def _elsewhere(pipeline: Pipeline) -> str:
    """Return that the pipeline's own figures hold for another accelerator, if they do."""
    stated = pipeline.expect.accelerator
    if stated in (None, pipeline.accelerator):
        return ""
    return f": the pipeline expects those of {stated}, and there is no figure for {pipeline.accelerator}"


def _basis(steps: list[Estimate]) -> Literal["measured", "assumed", "mixed"]:
    measured = {span.basis == "measured" for span in steps}
    if measured <= {True}:
        return "measured"
    return "mixed" if True in measured else "assumed"


# --- from session to session -------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Walk:
    """A walk over the sessions that are left, up to one of them."""

    at: datetime
    """Earliest time of the next push; at the end of the walk, the time at which the run finishes."""
    position: int
    hours: Hours | None
    training_s: float = 0.0
    quota_s: float = 0.0
    sessions: int = 0
    weeks: int = 0
    session_ends_at: datetime | None = None
    planned: tuple[tuple[datetime, datetime], ...] = ()


def walk(pipeline: Pipeline, pace: Pace, standing: RunPosition, hours: Hours | None) -> Walk:
    """Walk from the run's position to its end; raises Unforeseeable if the end is never reached."""
    try:
        return _walked(pipeline, pace, standing, hours)
    except OverflowError as error:
        raise Unforeseeable("the run would end after the year 9999") from error


def _walked(pipeline: Pipeline, pace: Pace, standing: RunPosition, hours: Hours | None) -> Walk:
    found = _until_next(_after_current(pipeline, pace, standing, hours), standing)
    while found.position < pipeline.total_steps:
        if found.sessions >= SESSIONS_MAX:
            raise Unforeseeable(f"more than {SESSIONS_MAX} sessions are needed")
        found = _after_next(found, pipeline, pace)
    return found if found.hours else replace(found, quota_s=0.0)


def _after_current(pipeline: Pipeline, pace: Pace, standing: RunPosition, hours: Hours | None) -> Walk:
    """Return the walk after the live session, or the one whose checkpoint is being fetched, if there is one."""
    now, live = standing.now, standing.live
    if live is None:
        handover = timedelta(seconds=pace.handover_s)
        at = now if standing.ended_at is None else max(now, standing.ended_at + handover)
        return Walk(at=at, position=standing.position, hours=hours)
    done = rest_of_session(pipeline, pace, standing, live)
    began_at = live.running_at or _expected_at(live, pace, now)
    ended_at = max(began_at + timedelta(seconds=done.clock_s), now)
    return Walk(
        at=ended_at + timedelta(seconds=pace.handover_s),
        position=done.position,
        hours=hours.spent(began_at, ended_at) if hours else None,
        training_s=done.training_s,
        quota_s=(ended_at - max(began_at, now)).total_seconds(),
        session_ends_at=ended_at,
        planned=((max(began_at, now), ended_at),),
    )


def _until_next(found: Walk, standing: RunPosition) -> Walk:
    """Return the walk at the time at which the next session may start."""
    if standing.until is None:
        return found
    at = max(found.at, standing.until)
    return replace(found, at=at, weeks=int(found.hours is not None and at >= found.hours.refreshes_at))


def _after_next(found: Walk, pipeline: Pipeline, pace: Pace) -> Walk:
    """Return the walk after one more session; raises Unforeseeable if no session could make progress."""
    limit_s, ready_at, hours, waited = _next_limit(pipeline, found.hours, found.at)
    began_at = ready_at + timedelta(seconds=pace.queue_s)
    budget = Budget(budget_s=pipeline.budget_s(limit_s), save_interval_s=pipeline.save_interval_s)
    done = whole_session(pipeline, pace, found.position, budget, limit_s, pace.startup_s)
    longest_s = min(pipeline.limit_s, hours.total_s) if hours else pipeline.limit_s
    if done.position == found.position and limit_s >= longest_s:
        raise Unforeseeable("a step and a save do not fit into a session")
    # a session cut short by the end of the week's quota may gain nothing; the next one does
    ended_at = began_at + timedelta(seconds=done.clock_s)
    return replace(
        found,
        at=ended_at + timedelta(seconds=pace.handover_s),
        position=done.position,
        hours=hours.spent(began_at, ended_at) if hours else None,
        training_s=found.training_s + done.training_s,
        quota_s=found.quota_s + done.clock_s,
        sessions=found.sessions + 1,
        planned=(*found.planned, (began_at, ended_at))[:PLANNED_MAX],
        weeks=found.weeks + waited,
    )


def _next_limit(pipeline: Pipeline, hours: Hours | None, at: datetime) -> tuple[float, datetime, Hours | None, int]:
    """Return the next session's limit, when it can be pushed, the quota then, and how many refreshes that waits for."""
    if hours is None:
        return pipeline.limit_s, at, None, 0
    hours, waited = hours.at(at), 0
    if min(pipeline.limit_s, hours.left_s) < pipeline.min_session_s or hours.left_s <= 0:
        at, waited = hours.refreshes_at, 1
        hours = hours.at(at)
    limit_s = min(pipeline.limit_s, hours.left_s)
    if limit_s < pipeline.min_session_s or limit_s <= 0:
        raise Unforeseeable(f"a whole week has {machine_time(hours.total_s)} of quota, too little to start a session")
    return limit_s, at, hours, waited


def _expected_at(live: LiveSession, pace: Pace, now: datetime) -> datetime:
    return max(now, live.pushed_at + timedelta(seconds=pace.queue_s))
