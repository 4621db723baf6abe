"""The session stops itself in time, and not much earlier than it has to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.session.budget import (
    RESERVE_S_MAX,
    SAFETY_MAX,
    SAFETY_MIN,
    SAVE_GUESS_S_MAX,
    START_SHARE,
    STEPS_KEPT,
    Budget,
    quantile,
    safety,
)

LONG = Budget(budget_s=10_000.0, save_interval_s=600.0, saved_at_s=0.0)
"""The reserve is a quarter of a minute, and a save is guessed to take a minute."""


@pytest.mark.parametrize(
    ("budget", "now_s", "stops"),
    [
        (LONG, 0.0, False),  # nothing measured: the first step is allowed
        (LONG.save_done(9_800, 0.0), 9_984.0, False),  # as long as the reserve is untouched
        (LONG.save_done(9_800, 0.0), 9_986.0, True),
        (LONG.save_done(9_800, 10.0), 9_972.0, False),  # 10 s measured, a quarter more allowed for
        (LONG.save_done(9_800, 10.0), 9_973.0, True),
        (LONG.stage_begun(9_800), 9_924.0, False),  # before the first save it is guessed
        (LONG.stage_begun(9_800), 9_926.0, True),
        (LONG.stage_begun(9_200).step_done(300.0), 9_774.0, False),  # the second step takes at most half of the first
        (LONG.stage_begun(9_200).step_done(300.0), 9_776.0, True),
        (LONG.stage_begun(9_700).step_done(300.0).step_done(4.0), 9_919.0, False),  # compiling is not typical
        (LONG.stage_begun(9_700).step_done(300.0).step_done(4.0), 9_921.0, True),
        (LONG.step_done(300.0).stage_begun(9_000), 9_624.0, False),  # the next stage compiles too
        (LONG.step_done(300.0).stage_begun(9_000), 9_626.0, True),
        (LONG.stage_begun(9_350).step_done(1.0).step_done(4.0), 9_919.0, False),  # before a save is due …
        (LONG.stage_begun(9_200).step_done(1.0).step_done(4.0), 9_864.0, False),
        (
            LONG.stage_begun(9_200).step_done(1.0).step_done(4.0),
            9_866.0,
            True,
        ),  # … and when it is written beside the step, and another one after it
    ],
)
def test_stops_when_a_step_a_save_and_the_reserve_no_longer_fit(budget: Budget, now_s: float, stops: bool) -> None:
    assert budget.must_stop(now_s) is stops


@pytest.mark.parametrize(("now_s", "saves"), [(0.0, False), (599.9, False), (600.0, True), (5_000.0, True)])
def test_saves_when_the_interval_is_over(now_s: float, saves: bool) -> None:
    assert LONG.must_save(now_s) is saves


def test_the_interval_runs_from_the_end_of_the_last_save() -> None:
    budget = LONG.save_done(700.0, 50.0)
    assert not budget.must_save(1_299.0)
    assert budget.must_save(1_300.0)


def test_the_interval_runs_from_the_state_that_is_written_beside_the_training() -> None:
    budget = LONG.save_begun(700.0).save_done(750.0, 50.0)
    assert not budget.must_save(1_299.0)
    assert budget.must_save(1_300.0)


def test_a_stage_starts_from_something_that_is_saved() -> None:
    assert not LONG.stage_begun(5_000.0).must_save(5_500.0)


def test_one_slow_step_is_forgotten_after_a_while() -> None:
    budget = LONG.step_done(1.0).step_done(500.0)
    assert budget.step_bound_s == SAFETY_MAX * 500.0
    for _ in range(STEPS_KEPT):
        budget = budget.step_done(2.0)
    assert budget.step_bound_s == safety(STEPS_KEPT) * 2.0


@pytest.mark.parametrize("budget_s", [1.0, 10.0, 1_000.0, 30_000.0])
def test_reserve_and_guess_leave_most_of_any_budget_for_training(budget_s: float) -> None:
    budget = Budget(budget_s=budget_s, save_interval_s=60.0)
    assert budget.reserve_s + budget.save_bound_s <= 0.1 * budget_s
    assert budget.reserve_s <= RESERVE_S_MAX
    assert budget.save_bound_s <= SAVE_GUESS_S_MAX
    assert not budget.must_stop(0.0)


SHARES = st.floats(0.0, 1.0)


@pytest.mark.slow
@settings(deadline=None)
@given(
    budget_s=st.floats(10.0, 40_000.0),
    interval_share=st.floats(0.001, 2.0),
    first_share=st.floats(0.0, 0.8),
    steps=st.lists(SHARES, min_size=1, max_size=60),
    saves=st.lists(SHARES, min_size=61, max_size=61),
)
def test_never_overruns_while_nothing_takes_longer_than_what_was_measured(
    budget_s: float, interval_share: float, first_share: float, steps: list[float], saves: list[float]
) -> None:
    """Steps take any share of what the rule allows for them, saves any share of the longest one so far."""
    budget = Budget(budget_s=budget_s, save_interval_s=interval_share * budget_s).stage_begun(0.0)
    now_s, waiting = first_share * budget_s, iter(saves)
    budget = budget.step_done(now_s)
    for share in steps:
        stop = budget.must_stop(now_s)
        if stop or budget.must_save(now_s):
            save_s = next(waiting) * max(budget.saves_s, default=budget.save_bound_s)
            now_s += save_s
            budget = budget.save_done(now_s, save_s)
        if stop:
            break
        step_s = share * budget.step_bound_s
        now_s += step_s
        budget = budget.step_done(step_s)
    else:
        now_s += max(budget.saves_s, default=budget.save_bound_s)
    assert now_s <= budget_s - budget.reserve_s + 1e-6 * budget_s


@pytest.mark.slow
@settings(deadline=None)
@given(step_s=st.floats(5.0, 100.0), save_s=st.floats(0.01, 100.0))
def test_uses_the_time_there_is(step_s: float, save_s: float) -> None:
    """With steady steps, less is left over at the end than two steps, two saves and the reserve."""
    budget = Budget(budget_s=10_000.0, save_interval_s=20_000.0).stage_begun(0.0).save_done(0.0, save_s)
    now_s = 0.0
    while not budget.must_stop(now_s):
        now_s += step_s
        budget = budget.step_done(step_s)
    assert budget.budget_s - now_s <= 2 * SAFETY_MAX * (step_s + save_s) + budget.reserve_s


# --- quantiles ---


def measured(*steps_s: float, **known: float) -> Budget:
    """A stage `sft` whose first step took a minute and the others so long."""
    budget = Budget(budget_s=10_000.0, save_interval_s=600.0, known=known).stage_begun(0.0, "sft").step_done(60.0)
    for step_s in steps_s:
        budget = budget.step_done(step_s)
    return budget


@pytest.mark.slow
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=400), st.floats(0.01, 1.0))
def test_a_quantile_is_a_value_that_so_many_do_not_exceed(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_of_many_steps_the_few_slowest_are_left_to_the_reserve() -> None:
    many = [1.0] * 198 + [50.0, 60.0]
    assert measured(*many).step_bound_s == pytest.approx(safety(200) * 1.0)
    assert measured(*many, 50.0).step_bound_s == pytest.approx(safety(201) * 50.0)


def test_the_more_was_measured_the_less_is_added() -> None:
    added = [safety(count) for count in (1, 8, 16, 64, 256)]
    assert added[0] == added[1] == SAFETY_MAX
    assert added == sorted(added, reverse=True)
    assert SAFETY_MIN < added[-1] < SAFETY_MIN + 0.01


def test_how_uneven_steps_are_is_known_from_earlier_sessions_and_how_long_they_take_from_this_one() -> None:
    known = {"sft.step_s": 10.0, "sft.step_high_s": 15.0}
    slower = measured(20.0, **known)  # a machine that takes twice as long
    assert slower.step_bound_s == pytest.approx(safety(1 + 64) * 30.0)
    assert measured(40.0, 20.0, 20.0, **known).step_bound_s == pytest.approx(safety(3 + 64) * 40.0)


def test_what_earlier_sessions_measured_stands_in_for_what_was_not_measured_yet() -> None:
    known = {"sft.first_step_s": 200.0, "sft.step_s": 4.0, "sft.step_high_s": 6.0, "save_s": 20.0}
    begun = Budget(budget_s=10_000.0, save_interval_s=600.0, known=known).stage_begun(0.0, "sft")
    assert begun.step_bound_s == SAFETY_MAX * 200.0
    assert begun.step_done(180.0).step_bound_s == SAFETY_MAX * 6.0
    assert begun.save_bound_s == SAFETY_MAX * 20.0
    assert begun.save_done(50.0, 8.0).save_bound_s == SAFETY_MAX * 8.0
    assert begun.stage_begun(60.0, "grpo").step_bound_s == 0.0


def test_time_is_kept_for_compiling_as_long_as_a_shape_is_left() -> None:
    begun = Budget(budget_s=10_000.0, save_interval_s=600.0).stage_begun(0.0).may_compile(3)
    budget = begun.step_done(60.0, 40.0).may_compile(2).step_done(4.0)
    assert budget.step_bound_s == SAFETY_MAX * 4.0 + 40.0
    slower = budget.step_done(54.0, 50.0).may_compile(1)  # a step that compiled two shapes
    assert slower.step_bound_s == SAFETY_MAX * 4.0 + 50.0
    assert slower.may_compile(0).step_bound_s == SAFETY_MAX * 4.0, "compiling was no part of any step"
    assert slower.stage_begun(200.0).step_done(8.0).step_bound_s == 4.0, "the next stage has shapes of its own"


def test_a_session_hands_on_what_it_measured_under_the_names_that_the_next_one_knows() -> None:
    budget = measured(2.0, 4.0, 3.0)
    told = budget.timings()
    assert told == {"sft.first_step_s": 60.0, "sft.step_s": 3.0, "sft.step_high_s": 4.0}
    assert measured(3.0, **told).step_bound_s == pytest.approx(safety(65) * 4.0)


def test_time_is_kept_for_a_step_that_may_compile_as_long_as_one_did_without_a_cache() -> None:
    known = {"sft.first_step_s": 200.0, "sft.step_s": 4.0, "sft.step_high_s": 4.0}
    begun = Budget(budget_s=10_000.0, save_interval_s=600.0, known=known).stage_begun(0.0, "sft")
    from_cache = begun.step_done(20.0, compiled_s=5.0).step_done(4.0)
    assert from_cache.may_compile(1).step_bound_s == from_cache.step_bound_s + START_SHARE * 200.0
    compiled = from_cache.step_done(164.0, compiled_s=160.0)
    assert compiled.steps_s == (4.0, 4.0), "compiling is not typical"
    assert compiled.may_compile(1).step_bound_s == compiled.step_bound_s + 160.0
    assert compiled.may_compile(1).may_compile(0) == compiled
