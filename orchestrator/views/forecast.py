"""The forecast as JSON and as a few lines, from what the database has of this run and of those that did the same work."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pydantic
from rich.table import Table
from rich.text import Text

from orchestrator.forecast import Forecast, Standing, Unforeseeable, forecast, hours_of, left
from orchestrator.outlook import assumptions, hours_left, seconds, standing_of
from orchestrator.pipeline import Pipeline
from orchestrator.timing import INTERVALS_KEPT, Observed, Times, reported_in, times_for
from state.facts import Fact
from state.memory import MemoryStore
from state.model import RunState, RunStatus
from state.store import Store

EARLIER_MAX = 5
"""Of the runs in the home folder the newest are looked at: others were on another Kaggle, so to speak."""


def run_part(
    store: Store | MemoryStore, state: RunState, facts: Sequence[tuple[datetime, Fact]], now: datetime
) -> dict[str, Any]:
    """`forecast` and `forecast_problem` of a run's document."""
    if state.run.status in (RunStatus.FINISHED, RunStatus.CANCELLED):
        return {"forecast": None, "forecast_problem": ""}
    pipeline = Pipeline.from_canonical(state.run.pipeline)
    own = _observed(store, state, pipeline, facts)
    mine = (state.run.owner, state.run.accelerator)
    quota = next((row for row in store.quotas() if (row.owner, row.accelerator) == mine), None)
    standing, hours = standing_of(state, own, now, store.watch(state.run.id)), hours_left(state, pipeline, quota, now)
    times = times_for(pipeline, own)
    if any(_guessed(times, name) for name in left(pipeline, standing.position)):
        times = times_for(pipeline, own, earlier_runs(store, but=state.run.id))
    try:
        found = forecast(pipeline, times, standing, hours)
    except Unforeseeable as error:
        return {"forecast": None, "forecast_problem": str(error)}
    said = assumptions(pipeline, times, standing.position, hours, quota)
    if state.run.status is RunStatus.PARKED:
        said = ["The run goes on now.", *said]
    return {"forecast": document(found, said), "forecast_problem": ""}


def _guessed(times: Times, stage: str) -> bool:
    return stage not in times.step_s or times.step_s[stage].basis != "measured"


def earlier_runs(store: Store | MemoryStore, but: str = "") -> list[Observed]:
    """The newest runs of this database, newest first; one of another relay, whose pipeline cannot be read, tells nothing."""
    found: list[Observed] = []
    for run in reversed(store.runs()):
        if run.id == but or len(found) == EARLIER_MAX:
            continue
        try:
            pipeline = Pipeline.from_canonical(run.pipeline)
        except pydantic.ValidationError:
            continue
        found.append(_observed(store, store.load(run.id), pipeline, store.facts(run.id)))
    return found


def _observed(
    store: Store | MemoryStore, state: RunState, pipeline: Pipeline, facts: Sequence[tuple[datetime, Fact]]
) -> Observed:
    return Observed(
        run=state.run.id,
        pipeline=pipeline,
        sessions=state.sessions,
        steps=store.steps_seen(state.run.id, INTERVALS_KEPT),
        reported=reported_in(fact for _, fact in facts),
    )


def plan_part(
    store: Store | None, pipeline: Pipeline, now: datetime, start: datetime | None, quota_left_s: float | None
) -> dict[str, Any]:
    """`forecast` and `forecast_problem` of a pipeline's plan, if it started at `start` (None: now) with so much quota left."""
    times = times_for(pipeline, earlier=earlier_runs(store) if store else ())
    rows = [row for row in (store.quotas() if store else ()) if row.accelerator == pipeline.hardware.quota]
    quota = max(rows, key=lambda row: row.read_at, default=None)
    begin = start or now
    hours = hours_of(pipeline, quota, now)
    if hours is not None and quota_left_s is not None:
        hours = replace(hours, left_s=quota_left_s, total_s=max(hours.total_s, quota_left_s))
        quota = None
    hours = hours.at(begin) if hours else None
    stages = {name: times.step_s[name].usual_s for name in left(pipeline, 0) if name in times.step_s}
    rest = {"begins_at": begin.isoformat(), "step_s": stages}
    try:
        found = forecast(pipeline, times, Standing(now=begin), hours)
    except Unforeseeable as error:
        return {"forecast": None, "forecast_problem": str(error), **rest}
    said = assumptions(pipeline, times, 0, hours, quota)
    return {"forecast": document(found, said), "forecast_problem": "", **rest}


def document(found: Forecast, said: Sequence[str]) -> dict[str, Any]:
    """A forecast as JSON (see docs/status.md)."""
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
        "assumptions": list(said),
    }


# --- for people --------------------------------------------------------------


def forecast_view(plan: dict[str, Any]) -> Table:
    """The forecast of a plan: how much, until when, and what was assumed."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, style="dim", min_width=11)
    table.add_column(overflow="fold")
    found = plan["forecast"]
    if found is None:
        remedy = "give it under expect.step_s, or let relay measure it in a run"
        table.add_row("  forecast", f"none: {plan['forecast_problem']}" + _remedy(plan, remedy))
        return table
    table.add_row("  needs", Text(_needs(found, plan["quota"])))
    table.add_row("  begun", Text(_clock(plan["begins_at"])))
    table.add_row("  done", Text.assemble((_clock(found["finish_at"]), "bold"), f", {_after(plan, found)}"))
    table.add_row("", Text(f"between {_clock(found['finish_earliest_at'])} and {_clock(found['finish_latest_at'])}"))
    for number, sentence in enumerate(found["assumptions"]):
        table.add_row("  assumed" if number == 0 else "", Text(sentence))
    return table


def _remedy(plan: dict[str, Any], remedy: str) -> str:
    return f"; {remedy}" if "no time is known" in plan["forecast_problem"] else ""


def _needs(found: dict[str, Any], quota: str) -> str:
    sessions = _range(found["sessions"], found["sessions_most"], "session")
    if not quota:
        return f"{sessions}, {seconds(found['training_s'])} of steps"
    low, usual, high = (found[key] / 3600 for key in ("quota_low_s", "quota_s", "quota_high_s"))
    weeks = _range(found["weeks"] + 1, found["weeks_most"] + 1, "week")
    return f"{sessions}, {usual:.1f} {quota.upper()} hours ({low:.1f} to {high:.1f}), of {weeks} of quota"


def _range(usual: int, most: int, word: str) -> str:
    told = f"{usual} {word}" + ("s" if usual != 1 else "")
    return told if most <= usual else f"{told} (at most {most})"


def _after(plan: dict[str, Any], found: dict[str, Any]) -> str:
    lasts_s = (datetime.fromisoformat(found["finish_at"]) - datetime.fromisoformat(plan["begins_at"])).total_seconds()
    return f"{lasts_s / 86400:.1f} days later" if lasts_s >= 2 * 86400 else f"{seconds(lasts_s)} later"


def _clock(iso: str) -> str:
    return f"{datetime.fromisoformat(iso):%a %d %b %Y %H:%M} UTC"
