"""Part of the status document for each run: its position, sessions and checkpoints, and what failed last."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from orchestrator.base.humanize import bounded_s
from orchestrator.core.goodput import goodput
from orchestrator.pipeline.stage_plan import StagePlan
from orchestrator.platforms.names import word_in
from orchestrator.views.checkpoint_document import checkpoint_document
from orchestrator.views.numerics import numerics_document
from orchestrator.views.origin_text import origin_document
from stages.contract import STAND_IN_METRIC, Cursor
from state.model.metrics import Metric
from state.model.poll_state import PollState
from state.model.run_state import RunState, Session
from state.model.snapshot import Request

UNLOGGED: Mapping[str, Any] = MappingProxyType({"damage": [], "changes": [], "moves": [], "memory": {}, "models": []})
"""Parts of a run's document that come from its log."""
ABSENT_MIN = 3
"""Consecutive responses without the kernel before the user is asked whether it was deleted."""


def run_document(
    state: RunState,
    metrics: Sequence[Metric],
    now: datetime,
    live_seconds: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """Describe one run: its position, its history and what the user has to do.

    `live_seconds` is the live session's time accounting so far. What the rows do not tell stays empty here: see
    `log_document`, and `open_run_forecast` for the forecast.
    """
    milestones = StagePlan.from_canonical(state.run.pipeline)
    cursor, run = state.head.cursor if state.head else milestones.beginning, state.run
    platforms = [word_in(stored) for stored in (*(left.site for left in run.left_platforms), run.pipeline)]
    sessions = [_session(s, platforms, run.owner_at(s.platform), now, live_seconds) for s in state.sessions]
    return {
        "id": run.id,
        "name": run.name,
        "owner": run.owner,
        "accelerator": run.accelerator,
        "platform": platforms[-1],
        "home": run.home,
        "pipeline": run.pipeline_path,
        "pipeline_digest": run.pipeline_digest,
        "origin": origin_document(run.origin),
        "state": run.status.value,
        "reason": run.reason,
        "remedy": run.remedy,
        "excerpt": run.excerpt,
        "waiting_until": _time(run.waiting_until),
        "created_at": _time(run.created_at),
        "updated_at": _time(run.updated_at),
        "cursor": _cursor(cursor),
        "steps_done": milestones.position(cursor),
        "steps_total": milestones.total_steps,
        "stages": _stages(milestones, cursor, state, metrics),
        "sessions": sessions,
        "quota_spent": goodput(sessions),
        "checkpoints": [checkpoint_document(state, checkpoint, platforms) for checkpoint in state.checkpoints],
        "numerics": numerics_document(state),
        **UNLOGGED,
        "forecast": None,
        "forecast_problem": "",
    }


def _stages(milestones: StagePlan, cursor: Cursor, state: RunState, metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    done = milestones.position(cursor)
    live = state.last if state.last and not state.last.phase.over else None
    found, before = [], 0
    for stage in milestones.stages:
        mine = [metric for metric in metrics if metric.stage == stage.name]
        seen = [m.step for m in mine if live and (m.session, m.attempt) == live.key]
        verified = min(stage.steps, max(0, done - before))
        found.append(
            {
                "name": stage.name,
                "kind": stage.kind,
                "target": stage.steps,
                "done": verified,
                "seen": max([verified, *seen]),
                "metrics": {metric.name: metric.value for metric in mine if _measures(metric.name)},
                "stand_ins": [
                    metric.name.removeprefix(STAND_IN_METRIC)
                    for metric in mine
                    if metric.name.startswith(STAND_IN_METRIC)
                ],
            }
        )
        before += stage.steps
    return found


def _measures(name: str) -> bool:
    """Return whether a metric is a measurement of a step."""
    return name != "done" and not name.startswith(STAND_IN_METRIC)


def _session(
    session: Session, platforms: Sequence[str], owner: str, now: datetime, live_seconds: Mapping[str, float]
) -> dict[str, Any]:
    live = session.running_at is not None and session.ended_at is None
    accounted = dict(live_seconds if live else session.seconds)
    return {
        "number": session.number,
        "attempt": session.attempt,
        "slug": session.slug,
        "platform": platforms[session.platform],
        "owner": owner,
        "kernel_version": session.kernel_version,
        "phase": session.phase.value,
        "outcome": session.outcome.value if session.outcome else None,
        "cause": session.cause,
        "reason": session.reason,
        "from": _cursor(session.start),
        "to": _cursor(session.reached),
        "furthest": _cursor(session.furthest),
        "steps_lost": session.steps_lost,
        "parent": session.parent,
        "checkpoint": session.checkpoint,
        "budget_s": session.budget_s,
        "limit_s": session.limit_s,
        "stops_by": _time(_stops_by(session)),
        "seconds": _duration_s(session, accounted, now),
        "accounted": accounted,
        "kept_s": session.kept_s,
        "planned_at": _time(session.planned_at),
        "pushed_at": _time(session.pushed_at),
        "twin": _twin(session),
        "running_at": _time(session.running_at),
        "ended_at": _time(session.ended_at),
    }


def _duration_s(session: Session, accounted: Mapping[str, float], now: datetime) -> float | None:
    """Return how long the session has had its machine: at most its limit, at least what its own clock reported.

    If this machine's clock was set meanwhile, only the session's own clock counts. Returns None if that reported
    nothing.
    """
    end = session.ended_at or (now if session.running_at else None)
    begin = session.running_at or session.pushed_at
    if begin is None or end is None:
        return None
    told_s = sum(accounted.values())
    if end < begin and told_s <= 0:
        return None
    return round(min(session.limit_s, max(told_s, bounded_s(end - begin, session.limit_s))), 3)


def _twin(session: Session) -> dict[str, Any] | None:
    """Describe the unwanted second session of the same kernel."""
    if session.twin is None:
        return None
    return {"version": session.twin, "at": _time(session.twin_at), "ended_at": _time(session.twin_ended_at)}


def _stops_by(session: Session) -> datetime | None:
    """Return the time by which a running session will have saved everything, as far as its start was observed."""
    if session.running_at is None or session.ended_at is not None:
        return None
    return session.running_at + timedelta(seconds=session.budget_s)


def failure_document(watch: PollState) -> dict[str, Any]:
    """Describe the last failure that will be retried."""
    again = watch.not_before if watch.failure else None
    absent = bool(again) and watch.failures > 0 and watch.absences >= ABSENT_MIN
    failures = watch.failures if again else 0
    return {"failure": watch.failure if again else "", "failures": failures, "retry_at": _time(again), "absent": absent}


def request_document(request: Request) -> dict[str, Any]:
    return {"verb": request.verb, "arguments": request.shown_arguments, "made_at": _time(request.made_at)}


def _cursor(cursor: Cursor | None) -> dict[str, Any] | None:
    return None if cursor is None else {"stage": cursor.stage, "step": cursor.step}


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
