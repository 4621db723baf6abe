"""The benchmark of goodput goes by blocks of steps, and decides as a session does that asks after each of them."""

import numpy as np
import pytest

from benchmarks import strategies
from benchmarks.strategies import (
    Ended,
    Machine,
    Memory,
    Place,
    Work,
    World,
    fixed_margin,
    from_scratch,
    relay,
    until_killed,
)
from stages.session.budget import Budget

WORLD = World(limit_s=4_000.0, startup_s=60.0, first_s=50.0, save_s=20.0)


def drawn(seed: int) -> tuple[Work, Machine]:
    generator = np.random.default_rng(seed)
    steps_s = tuple(4.0 * np.exp(generator.normal(0, 0.3, count)) for count in (300, 900))
    machine = Machine(1.1, 20.0 * np.exp(generator.normal(0, 0.2, 64)), 3.0)
    return Work(("sft", "grpo"), ("sft", "grpo"), steps_s), machine


def one_by_one(
    budget: Budget, steps_s: list[float], now_s: float, machine: Machine, hold_s: float
) -> tuple[int, float]:
    """As `stages.session.context` does it."""
    for done, step_s in enumerate(steps_s, start=1):
        now_s += step_s
        budget = budget.step_done(step_s)
        budget = strategies._save_ended(budget, now_s, machine)
        if done == len(steps_s) or budget.must_stop(now_s):
            return done, now_s
        if budget.must_save(now_s):
            if budget.saving_since_s is not None:
                now_s = strategies._saved_at(budget, machine)
                budget = strategies._save_ended(budget, now_s, machine)
            budget = budget.save_begun(now_s)
            now_s += hold_s
    raise AssertionError("no steps")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("interval_s", [15.0, 300.0, 1_200.0])
def test_blocks_decide_as_single_steps_do(seed: int, interval_s: float) -> None:
    work, machine = drawn(seed)
    budget = Budget(budget_s=2_500.0, save_interval_s=interval_s).stage_begun(60.0, "grpo")
    steps_s = work.steps_s[1]
    found = strategies._until_told(budget, steps_s, 60.0, machine, 1.0)
    alone = one_by_one(budget, [float(step_s) for step_s in steps_s], 60.0, machine, 1.0)
    assert found[0] == alone[0] < len(steps_s)
    assert found[1] == pytest.approx(alone[1])


def whole(strategy: strategies.Strategy, seed: int = 0) -> list[Ended]:
    work, machine = drawn(seed)
    place, ends, memory = Place(), list[Ended](), Memory()
    while place.stage < len(work.names) and len(ends) < 50:
        ends.append(strategy(WORLD, work, place, machine, memory, WORLD.limit_s))
        assert (ends[-1].place.stage, ends[-1].place.step) >= (place.stage, place.step)
        place = ends[-1].place
    return ends


def test_relay_stops_by_itself_and_goes_on_where_it_stopped() -> None:
    ends = whole(relay(lambda limit_s: limit_s - 35.0, 1_000.0))
    assert ends[-1].place == Place(2)
    assert not any(ended.timed_out for ended in ends)
    assert all(3_800.0 < ended.lasted_s < 4_000.0 - 35.0 for ended in ends[:-1])


def test_a_step_that_never_ends_in_time_is_left_by_the_last_exit() -> None:
    work, machine = drawn(1)
    steps_s = work.steps_s[1].copy()
    steps_s[100] = 10_000.0
    hangs = Work(("grpo",), ("grpo",), (steps_s,))
    ended = relay(lambda limit_s: limit_s - 35.0, 1_000.0)(WORLD, hangs, Place(), machine, Memory(), WORLD.limit_s)
    assert ended == Ended(Place(), WORLD.limit_s - 15.0, timed_out=False, stopped_for_time=True)


def test_who_lets_himself_be_killed_loses_what_came_after_the_last_save() -> None:
    ends = whole(until_killed(1_000.0))
    assert ends[0].timed_out and ends[0].lasted_s == WORLD.limit_s
    assert ends[0].place != Place()
    assert ends[-1].place == Place(2)


def test_a_fixed_margin_stops_a_long_time_before_the_limit() -> None:
    ends = whole(fixed_margin(900.0))
    assert all(ended.lasted_s < WORLD.limit_s - 800.0 for ended in ends)


def test_from_scratch_a_stage_that_does_not_fit_is_never_done() -> None:
    ends = whole(from_scratch())
    assert len(ends) == 50
    assert {ended.place for ended in ends} == {Place(1)}
