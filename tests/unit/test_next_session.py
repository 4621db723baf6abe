"""What the next session is told of the ones before it: how long things took, and how much margin it had better keep."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.plan import count_timed_out, order_for, plan_session
from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.model import Pipeline
from state.model.run_state import RunState
from state.model.statuses import Outcome
from tests.unit.histories import Told

LONG = """
name: long
accelerator: TpuV5E8
stages:
  - {name: sft, kind: counting, steps: 1000}
"""
MEASURED = {"session_s": 100.0, "restore_s": 3.0, "save_s": 4.0, "hold_s": 0.1}


@pytest.fixture
def told() -> Told:
    return Told()


def state_of(told: Told, home: Path) -> RunState:
    return told.keep(home).load(told.run)


def with_timings(state: RunState, *timings: dict[str, float]) -> RunState:
    pairs = zip(state.sessions, timings, strict=True)
    return replace(state, sessions=tuple(replace(session, timings=found) for session, found in pairs))


def times(state: RunState, told: Told) -> dict[str, float]:
    return order_for(state, state.sessions[-1], told.pipeline).times


def test_a_session_is_told_what_those_before_it_measured(told: Told, tmp_path: Path) -> None:
    for to in (10, 20, 30, 40):
        told.session(to)
    state = with_timings(
        state_of(told, tmp_path),
        {**MEASURED, "save_s": 99.0, "sft.step_s": 9.0},
        {**MEASURED, "save_s": 6.0, "sft.step_s": 2.0, "sft.step_high_s": 5.0, "sft.first_step_s": 70.0},
        {**MEASURED, "sft.step_s": 3.0, "sft.step_high_s": 4.0, "sft.first_step_s": 60.0},
        {},
    )
    found = times(state, told)
    assert {name: found[name] for name in ("save_s", "sft.step_s", "sft.step_high_s", "sft.first_step_s")} == {
        "save_s": 99.0,
        "sft.step_s": 3.0,
        "sft.step_high_s": 4.0,
        "sft.first_step_s": 70.0,
    }
    assert not found.keys() & {"session_s", "restore_s", "hold_s"}


def test_only_the_newest_few_that_measured_anything_count(told: Told, tmp_path: Path) -> None:
    for to in (10, 20, 30, 40, 50, 60):
        told.session(to)
    old, new, nothing = {**MEASURED, "save_s": 99.0}, MEASURED, dict[str, float]()
    state = with_timings(state_of(told, tmp_path), old, new, new, nothing, new, nothing)
    assert times(state, told)["save_s"] == 4.0


def test_what_makes_no_sense_is_not_told(told: Told, tmp_path: Path) -> None:
    told.session(10)
    told.session(20)
    odd = {**MEASURED, "save_s": 1e9, "sft.step_s": -1.0}
    assert times(with_timings(state_of(told, tmp_path), odd, {}), told) == {}


def test_the_same_session_is_told_the_same_whatever_came_after_it(told: Told, tmp_path: Path) -> None:
    for to in (10, 20, 30):
        told.session(to)
    state = with_timings(state_of(told, tmp_path), MEASURED, {**MEASURED, "save_s": 50.0}, {**MEASURED, "save_s": 90.0})
    second = state.sessions[1]
    before = replace(state, sessions=state.sessions[:2])
    assert order_for(state, second, told.pipeline) == order_for(before, second, told.pipeline)
    assert order_for(state, second, told.pipeline).times == {"save_s": 4.0}


# --- the margin ---


def ended(state: RunState, *outcomes: Outcome) -> RunState:
    pairs = zip(state.sessions, outcomes, strict=True)
    return replace(state, sessions=tuple(replace(session, outcome=outcome) for session, outcome in pairs))


def test_each_session_that_kaggle_stopped_at_its_limit_widens_the_margin(told: Told, tmp_path: Path) -> None:
    for to in (10, 20, 30):
        told.session(to)
    state, pipeline = state_of(told, tmp_path), parse(LONG, "long.yaml")
    budgets = [
        plan_session(ended(state, *outcomes), pipeline, None).budget_s
        for outcomes in (
            (Outcome.YIELDED, Outcome.FAILED, Outcome.YIELDED),
            (Outcome.YIELDED, Outcome.TIMED_OUT, Outcome.YIELDED),
            (Outcome.TIMED_OUT, Outcome.TIMED_OUT, Outcome.YIELDED),
        )
    ]
    assert budgets == [32_400 - 35, 32_400 - 35 - 120, 32_400 - 35 - 240]
    assert count_timed_out(ended(state, Outcome.TIMED_OUT, Outcome.TIMED_OUT, Outcome.FAILED)) == 2


@pytest.mark.parametrize("margin", [{}, {"margin_s": 20.0}, {"margin_s": 700.0}])
@pytest.mark.parametrize("limit_s", [60.0, 900.0, 32_400.0])
def test_however_many_it_were_at_least_half_of_a_session_is_left(limit_s: float, margin: dict[str, Any]) -> None:
    pipeline: Pipeline = parse(LONG, "long.yaml")
    pipeline = pipeline.model_copy(update={"session": pipeline.session.model_copy(update=margin)})
    most = pipeline.budget_s(limit_s)
    assert 0 <= pipeline.budget_s(limit_s, 1_000) <= most
    assert pipeline.budget_s(limit_s, 1_000) >= (limit_s - margin.get("margin_s", limit_s / 10)) / 2 - 1e-9
