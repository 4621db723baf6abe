"""The forecast as JSON, from measurements of this run and of runs in the database that did the same work."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pydantic

from orchestrator.core.assumptions import Evidence
from orchestrator.core.durations import INTERVALS_KEPT, Times, estimate_durations, reported_by
from orchestrator.core.estimates import Estimate
from orchestrator.core.forecast import Forecast, Unforeseeable, forecast
from orchestrator.core.forecast_inputs import assumptions, hours_left, position_of
from orchestrator.core.forecast_session import RunPosition, left
from orchestrator.core.probed_times import probed_times
from orchestrator.core.run_history import RunHistory
from orchestrator.core.weekly_quota import hours_of
from orchestrator.pipeline.model import Pipeline
from state.failures import RunDamaged
from state.memory_store import MemoryStore
from state.model.run_state import RunState
from state.model.statuses import RunStatus
from state.reader import Reader

EARLIER_MAX = 5
"""Maximum number of earlier runs that are used, newest first, since conditions on Kaggle change over time."""


def run_part(
    store: Reader | MemoryStore,
    state: RunState,
    now: datetime,
    evidence: Sequence[Evidence] = (),
) -> dict[str, Any]:
    """Return `forecast` and `forecast_problem` of a run's document; `evidence` is that of the account."""
    if state.run.status not in (RunStatus.ACTIVE, RunStatus.WAITING):
        return {"forecast": None, "forecast_problem": ""}
    pipeline = Pipeline.from_canonical(state.run.pipeline)
    own = _observed(store, state, pipeline)
    mine = (state.run.owner, state.run.accelerator)
    quota = next((row for row in store.quotas() if (row.owner, row.accelerator) == mine), None)
    standing, hours = position_of(state, own, now, store.watch(state.run.id)), hours_left(state, pipeline, quota, now)
    probed = probed_times(evidence, pipeline.slot)
    times = estimate_durations(pipeline, own, probed=probed)
    if any(_guessed(times, name) for name in left(pipeline, standing.position)):
        times = estimate_durations(pipeline, own, earlier_runs(store, but=state.run.id), probed)
    try:
        found = forecast(pipeline, times, standing, hours)
    except Unforeseeable as error:
        return {"forecast": None, "forecast_problem": str(error)}
    said = assumptions(pipeline, times, standing.position, hours, quota)
    return {"forecast": {**document(found, said), "computed_at": now.isoformat()}, "forecast_problem": ""}


def _guessed(times: Times, stage: str) -> bool:
    return stage not in times.step_s or times.step_s[stage].basis != "measured"


def earlier_runs(store: Reader | MemoryStore, but: str = "") -> list[RunHistory]:
    """Return the newest runs of this database, newest first, without those that cannot be read."""
    found: list[RunHistory] = []
    for run in reversed(store.runs()):
        if run.id == but or len(found) == EARLIER_MAX:
            continue
        try:
            pipeline = Pipeline.from_canonical(run.pipeline)
            found.append(_observed(store, store.load(run.id), pipeline))
        except (pydantic.ValidationError, RunDamaged):
            continue
    return found


def _observed(store: Reader | MemoryStore, state: RunState, pipeline: Pipeline) -> RunHistory:
    return RunHistory(
        run=state.run.id,
        pipeline=pipeline,
        sessions=state.sessions,
        checkpoints=state.checkpoints,
        steps=store.steps_seen(state.run.id, INTERVALS_KEPT),
        reported=reported_by(state.sessions),
    )


def plan_part(
    store: Reader | None,
    pipeline: Pipeline,
    now: datetime,
    start: datetime | None,
    quota_left_s: float | None,
    evidence: Sequence[Evidence] = (),
) -> dict[str, Any]:
    """Return `forecast` and `forecast_problem` of a pipeline's plan, with its start, step times and all durations.

    The pipeline starts at `start` (None: now) with `quota_left_s` seconds of quota (None: as last read). `evidence` is
    that of the account.
    """
    probed = probed_times(evidence, pipeline.slot)
    times = estimate_durations(pipeline, earlier=earlier_runs(store) if store else (), probed=probed)
    rows = [row for row in (store.quotas() if store else ()) if row.accelerator == pipeline.hardware.quota]
    quota = max(rows, key=lambda row: row.read_at, default=None)
    begin = start or now
    hours = hours_of(pipeline, quota, now)
    hours = hours.at(begin) if hours else None
    if hours is not None and quota_left_s is not None:
        hours, quota = replace(hours, left_s=quota_left_s, total_s=max(hours.total_s, quota_left_s)), None
    position = pipeline.position(pipeline.beginning)
    stages = {name: times.step_s[name].usual_s for name in left(pipeline, position) if name in times.step_s}
    figures = {name: _figure(span) for name, span in times.figures.items()}
    rest = {"begins_at": begin.isoformat(), "step_s": stages, "durations": figures}
    try:
        found = forecast(pipeline, times, RunPosition(now=begin, position=position), hours)
    except Unforeseeable as error:
        return {"forecast": None, "forecast_problem": str(error), **rest}
    said = assumptions(pipeline, times, position, hours, quota)
    return {"forecast": document(found, said), "forecast_problem": "", **rest}


def _figure(span: Estimate) -> dict[str, Any]:
    return {
        "usual_s": round(span.usual_s, 3),
        "low_s": round(span.low_s, 3),
        "high_s": round(span.high_s, 3),
        "source": span.source.value,
        "detail": span.detail,
    }


def document(found: Forecast, said: Sequence[str]) -> dict[str, Any]:
    """Format a forecast as JSON (see docs/status.md)."""
    return {
        "finish_at": found.finish_at.isoformat(),
        "finish_earliest_at": found.finish_earliest_at.isoformat(),
        "finish_latest_at": found.finish_latest_at.isoformat(),
        "training_s": round(found.training_s, 3),
        "quota_s": round(found.quota_s, 3),
        "quota_low_s": round(found.quota_low_s, 3),
        "quota_high_s": round(found.quota_high_s, 3),
        "sessions": found.sessions,
        "sessions_most": found.sessions_most,
        "weeks": found.weeks,
        "weeks_most": found.weeks_most,
        "session_ends_at": found.session_ends_at.isoformat() if found.session_ends_at else None,
        "basis": found.basis,
        "planned": [[begin.isoformat(), end.isoformat()] for begin, end in found.planned],
        "assumptions": list(said),
    }
