"""Prepares a forecast from a run's records: its position, the quota that is left, and the assumptions. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from orchestrator.base.humanize import duration, machine_time, utc_time
from orchestrator.core.durations import Times
from orchestrator.core.estimates import Estimate, TimeSource
from orchestrator.core.forecast_session import LiveSession, RunPosition, left
from orchestrator.core.plan import WEEK, run_cursor, week_of
from orchestrator.core.run_history import RunHistory
from orchestrator.core.weekly_quota import Hours, hours_of
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.names import platform_name
from stages.contract import Cursor
from state.model.metrics import StepSeen
from state.model.poll_state import PollState
from state.model.run_state import RunState, Session
from state.model.snapshot import QuotaRow
from state.model.statuses import Phase, RunStatus

SAME_S = 1.0
"""Differences up to this many seconds are shown as one value."""


# --- the position ------------------------------------------------------------


def position_of(state: RunState, history: RunHistory, now: datetime, watch: PollState) -> RunPosition:
    """Return the run's position, with its live session or the last one whose checkpoint is being fetched, if any."""
    pipeline, last = history.pipeline, _by_now(state.last, now)
    waits = [at for at in (watch.not_before, _waits(state)) if at is not None and at <= now + WEEK]
    place = RunPosition(
        now=now, position=pipeline.position(run_cursor(state, pipeline)), until=max(waits) if waits else None
    )
    if last is None:
        return place
    match last.phase:
        case Phase.PUSHED | Phase.QUEUED:
            return replace(place, live=_queued(last))
        case Phase.RUNNING:
            return _running(place, last, history)
        case Phase.ENDED:
            steps = _of(last, history.steps)
            position = max([place.position, *(_position(pipeline, step) for step in steps[-1:])])
            return replace(place, position=position, ended_at=last.ended_at)
        case Phase.COLLECTED | Phase.PUBLISHING:
            return replace(place, ended_at=last.ended_at)
        case Phase.PLANNED | Phase.PUSHING | Phase.PUBLISHED | Phase.NO_CHECKPOINT | Phase.LOST:
            return place
        case _:
            assert_never(last.phase)


def _by_now(session: Session | None, now: datetime) -> Session | None:
    """Return the session with future times cut to `now`; a clock that was ahead recorded them."""
    if session is None:
        return None
    times = (session.planned_at, session.pushed_at, session.running_at, session.ended_at)
    if all(at is None or at <= now for at in times):
        return session

    def by_now(at: datetime | None) -> datetime | None:
        return None if at is None else min(at, now)

    return replace(
        session,
        planned_at=min(session.planned_at, now),
        pushed_at=by_now(session.pushed_at),
        running_at=by_now(session.running_at),
        ended_at=by_now(session.ended_at),
    )


def _waits(state: RunState) -> datetime | None:
    return state.run.waiting_until if state.run.status is RunStatus.WAITING else None


def _queued(session: Session) -> LiveSession:
    pushed_at = session.pushed_at or session.planned_at
    return LiveSession(budget_s=session.budget_s, limit_s=session.limit_s, pushed_at=pushed_at)


def _running(place: RunPosition, session: Session, history: RunHistory) -> RunPosition:
    """Return the position inside the stage of the newest step, or before the next stage if that step was its last."""
    pipeline = history.pipeline
    live = replace(_queued(session), running_at=session.running_at)
    steps = [step for step in _of(session, history.steps) if pipeline.holds(Cursor(stage=step.stage, step=step.step))]
    if not steps:
        return replace(place, live=live)
    newest = steps[-1]
    live = replace(live, clock_s=newest.at_s)
    position = max(place.position, _position(pipeline, newest))
    if not any(stage.name == newest.stage and stage.steps == newest.step for stage in pipeline.stages):
        first = next(step for step in steps if step.stage == newest.stage)
        before_s = max((step.at_s for step in steps if step.at_s < first.at_s), default=0.0)
        live = replace(live, first_step_s=first.at_s - before_s, stage_began_s=first.at_s)
    return replace(place, live=live, position=position)


def _of(session: Session, steps: Sequence[StepSeen]) -> list[StepSeen]:
    return [step for step in steps if (step.session, step.attempt) == session.key]


def _position(pipeline: Pipeline, step: StepSeen) -> int:
    cursor = Cursor(stage=step.stage, step=step.step)
    return pipeline.position(cursor) if pipeline.holds(cursor) else 0


# --- the week's hours --------------------------------------------------------


def hours_left(state: RunState, pipeline: Pipeline, quota: QuotaRow | None, now: datetime) -> Hours | None:
    """Return the quota as last read, minus what the run's sessions have used since.

    The live session is left out: the walk counts it.
    """
    if not pipeline.hardware.quota:
        return None
    known = quota if quota is not None and quota.total_s is not None else None
    since = min(known.read_at, now) if known else week_of(quota.refreshes_at if quota else None, now)[0]
    hours = hours_of(pipeline, known or quota, since)
    for each in state.sessions:
        session = _by_now(each, now) or each
        began_at = session.running_at or session.pushed_at
        if hours is None or began_at is None:
            continue
        if session.ended_at is None and session.phase.on_kaggle and session.pushed_at and session.pushed_at < since:
            # the reading already counts this whole session, as used and reserved
            hours = replace(hours, left_s=min(hours.total_s, hours.left_s + session.limit_s))
        elif session.ended_at is not None and session.ended_at > since:
            longest = timedelta(seconds=session.limit_s)
            hours = hours.spent(max(began_at, since, session.ended_at - longest), session.ended_at)
    return hours.at(now) if hours else None


# --- the assumptions, as sentences -------------------------------------------


def assumptions(
    pipeline: Pipeline, times: Times, position: int, hours: Hours | None, quota: QuotaRow | None
) -> list[str]:
    """Return the assumptions of a forecast as sentences, the most important first."""
    names = left(pipeline, position)
    sentences = [*_steps(times, names), _around(times, names), _between(times, pipeline.platform)]
    if hours is not None:
        sentences.append(_hours(pipeline, hours, quota))
    condition = " and no other session takes the slot or the hours" if hours is not None else ""
    sentences.append(f"Nothing fails, this machine stays on{condition}.")
    return sentences


def _steps(times: Times, names: Sequence[str]) -> list[str]:
    """Return the sources of the step times: one sentence, or one for each source if there are several."""
    found: dict[str, list[str]] = {}
    for name in names:
        if name in times.step_s:
            found.setdefault(_as_words(times.step_s[name]), []).append(name)
    if len(found) == 1:
        return [f"Steps take as long {source}." for source in found]
    return [f"Steps of {', '.join(listed)} take as long {source}." for source, listed in found.items()]


def _as_words(step: Estimate) -> str:
    if step.source is not TimeSource.PIPELINE:
        return f"as {step.words}"
    return f"as the pipeline expects{f' ({step.detail})' if step.detail else ''}"


def _around(times: Times, names: Sequence[str]) -> str:
    firsts = [times.first_s[name] for name in names] or [Estimate(0, 0, 0)]
    least, most = min(s.usual_s for s in firsts), max(s.usual_s for s in firsts)
    first = duration(most) if most - least <= SAME_S else f"{duration(least)} to {duration(most)}"
    return (
        f"A session takes {duration(times.startup_s.usual_s)} to start ({times.startup_s.words}), {first} more for a "
        f"stage's first step ({firsts[0].words}) and {duration(times.save_s.usual_s)} a save ({times.save_s.words})."
    )


def _between(times: Times, platform: str) -> str:
    queue, handover = times.queue_s, times.handover_s
    return (
        f"Before a session {duration(queue.usual_s)} in {platform_name(platform)}'s queue ({queue.words}), after it "
        f"{duration(handover.usual_s)} to fetch and publish its checkpoint ({handover.words})."
    )


def _hours(pipeline: Pipeline, hours: Hours, quota: QuotaRow | None) -> str:
    left = (
        f"{machine_time(hours.left_s)} of {machine_time(hours.total_s)} of {pipeline.hardware.quota.upper()} are left"
    )
    renewed = f"renewed {utc_time(hours.refreshes_at)}"
    if quota is None or quota.total_s is None:
        return f"{left}: Kaggle was not asked; {renewed}."
    count = ", by relay's own count" if quota.assumed else ""
    return f"{left}, as read {utc_time(quota.read_at)}{count}; {renewed}."
