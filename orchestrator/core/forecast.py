"""Forecasts when a run finishes and how much quota it uses, by planning its sessions as `decide` would. Pure.

Three walks, with the usual, the shortest and the longest durations, give the forecast and its bounds. A session stops
where `stages.session.budget` would stop it, is as long as `plan.session_limit_s` allows, and waits for the quota
refresh if too little is left. Not foreseen: outages, failed sessions, and this machine being asleep.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil, floor
from typing import Literal

from orchestrator.base.humanize import bounded_s
from orchestrator.core.durations import Times
from orchestrator.core.estimates import Estimate
from orchestrator.core.plan import WEEK, week_of
from orchestrator.pipeline.model import Pipeline
from stages.session.budget import STEPS_KEPT, Budget
from state.model import QuotaRow

SESSIONS_MAX = 1000
"""Maximum number of sessions in a forecast."""


class Unforeseeable(Exception):
    """Raised if no end can be forecast; the message is a sentence with the reason."""


@dataclass(frozen=True, kw_only=True)
class Hours:
    """The weekly quota that is left at the walk's current time."""

    left_s: float
    total_s: float
    refreshes_at: datetime

    def at(self, now: datetime) -> "Hours":
        """Return the quota at a later time: every refresh in between restores the full week."""
        if now < self.refreshes_at:
            return self
        return Hours(left_s=self.total_s, total_s=self.total_s, refreshes_at=week_of(self.refreshes_at, now)[1])

    def spent(self, begin: datetime, end: datetime) -> "Hours":
        """Return the quota after a session.

        If the session runs past the refresh, only the part after it counts in the new week.
        """
        after = self.at(end)
        used_s = (end - max(begin, after.refreshes_at - WEEK)).total_seconds()
        return replace(after, left_s=max(0.0, after.left_s - max(0.0, used_s)))


def hours_of(pipeline: Pipeline, quota: QuotaRow | None, now: datetime) -> Hours | None:
    """Return the quota as last read, brought to `now`, or the pipeline's own number if it was never read.

    Returns None if the pipeline uses no quota.
    """
    if not pipeline.hardware.quota:
        return None
    end = week_of(quota.refreshes_at if quota else None, now)[1]
    if quota is None or quota.total_s is None or quota.left_s is None:
        total_s = pipeline.hours_per_week * 3600
        return Hours(left_s=total_s, total_s=total_s, refreshes_at=end)
    left_s = quota.left_s if quota.read_at >= end - WEEK else quota.total_s
    return Hours(left_s=left_s, total_s=quota.total_s, refreshes_at=end)


@dataclass(frozen=True, kw_only=True)
class LiveSession:
    """The session under way. `running_at` is None while it waits for a machine."""

    budget_s: float
    limit_s: float
    pushed_at: datetime
    running_at: datetime | None = None
    clock_s: float = 0.0
    """Session clock, in seconds, at `RunPosition.position`."""
    first_step_s: float | None = None
    """First-step seconds of the current stage; None if the next step is a stage's first."""
    stage_began_s: float = 0.0
    """Start of the current stage, in seconds on the session's clock."""


@dataclass(frozen=True, kw_only=True)
class RunPosition:
    """Current position of a run, or of one that begins now."""

    now: datetime
    position: int = 0
    """Steps done since the pipeline's beginning, including those that the live session reported."""
    live: LiveSession | None = None
    ended_at: datetime | None = None
    """End of the session whose checkpoint is being fetched or published."""
    until: datetime | None = None
    """Earliest time at which the next session may start."""


@dataclass(frozen=True)
class Walk:
    """Result of one walk over the sessions that are left."""

    finish_at: datetime
    training_s: float
    quota_s: float
    sessions: int
    weeks: int
    session_ends_at: datetime | None


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


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Durations of one walk, in seconds."""

    queue_s: float
    handover_s: float
    startup_s: float
    save_s: float
    first_s: Mapping[str, float]
    step_s: Mapping[str, float]


def pace(times: Times, which: Literal["usual_s", "low_s", "high_s"]) -> Pace:
    """Return one number (usual, low or high) of each estimate."""

    def of(span: Estimate) -> float:
        return float(getattr(span, which))

    return Pace(
        queue_s=of(times.queue_s),
        handover_s=of(times.handover_s),
        startup_s=of(times.startup_s),
        save_s=of(times.save_s),
        first_s={stage: of(span) for stage, span in times.first_s.items()},
        step_s={stage: of(span) for stage, span in times.step_s.items()},
    )


def forecast(pipeline: Pipeline, times: Times, standing: RunPosition, hours: Hours | None) -> Forecast:
    """Forecast the run.

    Raises Unforeseeable if a stage that is left has no known step time, or if no session would make progress.
    """
    unknown = [name for name in left(pipeline, standing.position) if name not in times.step_s]
    if unknown:
        raise Unforeseeable(f"no time is known of a step of {', '.join(unknown)}")
    usual = walk(pipeline, pace(times, "usual_s"), standing, hours)
    early = walk(pipeline, pace(times, "low_s"), standing, hours)
    late = walk(pipeline, pace(times, "high_s"), standing, hours)
    return Forecast(
        finish_at=usual.finish_at,
        finish_earliest_at=min(early.finish_at, usual.finish_at),
        finish_latest_at=max(late.finish_at, usual.finish_at),
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
    )


def _basis(steps: list[Estimate]) -> Literal["measured", "assumed", "mixed"]:
    measured = {span.basis == "measured" for span in steps}
    if measured <= {True}:
        return "measured"
    return "mixed" if True in measured else "assumed"


def left(pipeline: Pipeline, position: int) -> list[str]:
    """Return the names of the stages that are not done."""
    found, before = [], 0
    for stage in pipeline.stages:
        before += stage.steps
        if before > position:
            found.append(stage.name)
    return found


# --- from session to session -------------------------------------------------


def walk(pipeline: Pipeline, pace: Pace, standing: RunPosition, hours: Hours | None) -> Walk:
    """Walk from the run's position to its end; raises Unforeseeable if the end is never reached."""
    position, total = standing.position, pipeline.total_steps
    at, training_s, quota_s, sessions, weeks = standing.now, 0.0, 0.0, 0, 0
    session_ends_at = None
    if standing.live is not None:
        done = _go_on(pipeline, pace, standing, standing.live)
        began_at = session_ends_at = standing.live.running_at or _expected_at(standing.live, pace, standing.now)
        ended_at = began_at + timedelta(seconds=done.clock_s)
        session_ends_at = ended_at = max(ended_at, standing.now)
        quota_s += (ended_at - max(began_at, standing.now)).total_seconds()
        hours = hours.spent(began_at, ended_at) if hours else None
        position, training_s = done.position, done.training_s
        at = ended_at + timedelta(seconds=pace.handover_s)
    elif standing.ended_at is not None:
        at = max(standing.now, standing.ended_at + timedelta(seconds=pace.handover_s))
    if standing.until is not None:
        at = max(at, standing.until)
        weeks = int(hours is not None and at >= hours.refreshes_at)
    while position < total:
        if sessions >= SESSIONS_MAX:
            raise Unforeseeable(f"more than {SESSIONS_MAX} sessions are needed")
        limit_s, ready_at, hours, waited = _next_limit(pipeline, hours, at)
        weeks += waited
        began_at = ready_at + timedelta(seconds=pace.queue_s)
        budget = Budget(budget_s=pipeline.budget_s(limit_s), save_interval_s=pipeline.save_interval_s)
        done = _session(pipeline, pace, position, budget, limit_s, pace.startup_s)
        longest_s = min(pipeline.limit_s, hours.total_s) if hours else pipeline.limit_s
        if done.position == position and limit_s >= longest_s:
            raise Unforeseeable("a step and a save do not fit into a session")
        # a session cut short by the end of the week's quota may gain nothing; the next one does
        sessions, position = sessions + 1, done.position
        training_s, quota_s = training_s + done.training_s, quota_s + done.clock_s
        ended_at = began_at + timedelta(seconds=done.clock_s)
        hours = hours.spent(began_at, ended_at) if hours else None
        at = ended_at + timedelta(seconds=pace.handover_s)
    return Walk(at, training_s, quota_s if hours else 0.0, sessions, weeks, session_ends_at)


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
        raise Unforeseeable(f"a whole week has {hours.total_s / 3600:.1f} hours, too few to start a session")
    return limit_s, at, hours, waited


def _expected_at(live: LiveSession, pace: Pace, now: datetime) -> datetime:
    return max(now, live.pushed_at + timedelta(seconds=pace.queue_s))


# --- inside a session --------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """A finished session; `clock_s` is its own clock at its end."""

    position: int
    clock_s: float
    training_s: float


def _go_on(pipeline: Pipeline, pace: Pace, standing: RunPosition, live: LiveSession) -> Done:
    """Continue the session under way from the last step that it reported."""
    budget = Budget(budget_s=live.budget_s, save_interval_s=pipeline.save_interval_s)
    if live.first_step_s is not None:
        round_s = max(1.0, pipeline.save_interval_s)
        saved_at_s = live.stage_began_s + floor((live.clock_s - live.stage_began_s) / round_s) * round_s
        budget = budget.stage_begun(saved_at_s).step_done(live.first_step_s)
        return _session(pipeline, pace, standing.position, budget, live.limit_s, live.clock_s, begun=True)
    clock_s = live.clock_s + pace.save_s if live.clock_s else pace.startup_s
    if live.running_at is not None and (names := left(pipeline, standing.position)):
        # what has not happened yet happens now at the earliest
        lasted_s = bounded_s(standing.now - live.running_at, live.limit_s)
        clock_s = max(clock_s, lasted_s - pace.first_s[names[0]] - pace.step_s[names[0]])
    return _session(pipeline, pace, standing.position, budget, live.limit_s, clock_s)


def _session(
    pipeline: Pipeline,
    pace: Pace,
    position: int,
    budget: Budget,
    limit_s: float,
    clock_s: float,
    *,
    begun: bool = False,
) -> Done:
    """Run stages while time is left, as `stages.session.runner` does. `begun`: the first stage is already under way.

    Only a stage's first step, which has no time bound, can exceed the limit; then the stage has saved nothing.
    """
    now_s, training_s, before = clock_s, 0.0, 0
    for stage in pipeline.stages:
        steps = before + stage.steps - position
        before += stage.steps
        if steps <= 0:
            continue
        if not begun:
            budget = budget.stage_begun(now_s, stage.name)
            if budget.must_stop(now_s):
                break
        begun = False
        done, budget, now_s, trained_s = _stage(budget, now_s, steps, pace, stage.name)
        if now_s > limit_s:
            return Done(position, limit_s, training_s)
        position, training_s = position + done, training_s + trained_s
        if done < steps:
            break
    return Done(position, now_s, training_s)


def _stage(budget: Budget, now_s: float, steps: int, pace: Pace, name: str) -> tuple[int, Budget, float, float]:
    """Run a stage until it ends or the session must stop: steps done, budget, session clock and seconds of steps."""
    step_s, first_s, done, trained_s = pace.step_s[name], pace.first_s[name], 0, 0.0
    while True:
        if budget.first_step_s is None:
            count, took_s = 1, first_s + step_s
        else:
            count, took_s = _until_due(budget, now_s, steps - done, step_s) if budget.steps_s else 1, step_s
        now_s, done, trained_s = now_s + took_s * count, done + count, trained_s + took_s * count
        for _ in range(min(count, STEPS_KEPT)):
            budget = budget.step_done(took_s)
        if done >= steps or budget.must_stop(now_s):
            now_s += pace.save_s
            return done, budget.save_done(now_s, pace.save_s), now_s, trained_s
        if budget.must_save(now_s):  # while the following steps go on
            budget = budget.save_begun(now_s).save_done(now_s, pace.save_s)


def _until_due(budget: Budget, now_s: float, steps: int, step_s: float) -> int:
    """Return the steps until the stage ends, a save is due or the session must stop; at least one."""
    if step_s <= 0:
        return steps
    save_s = budget.saved_at_s + budget.save_interval_s - now_s
    stop_s = budget.last_start_s(now_s) - now_s
    return max(1, min(steps, ceil(save_s / step_s), floor(stop_s / step_s) + 1))
