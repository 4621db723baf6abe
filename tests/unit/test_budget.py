"""The session stops itself in time, and not much earlier than it has to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.budget import RESERVE_S_MAX, SAFETY, SAVE_GUESS_S_MAX, STEPS_KEPT, Budget

LONG = Budget(budget_s=10_000.0, save_interval_s=600.0, saved_at_s=0.0)
"""Reserve and guess are a minute each."""


@pytest.mark.parametrize(
    ("budget", "now_s", "stops"),
    [
        (LONG, 0.0, False),  # nothing measured: the first step is allowed
        (LONG.save_done(9_800, 0.0), 9_939.0, False),  # as long as the reserve is untouched
        (LONG.save_done(9_800, 0.0), 9_941.0, True),
        (LONG.save_done(9_800, 10.0), 9_927.0, False),  # 10 s measured, a quarter more allowed for
        (LONG.save_done(9_800, 10.0), 9_928.0, True),
        (LONG.stage_begun(9_800), 9_879.0, False),  # before the first save it is guessed
        (LONG.stage_begun(9_800), 9_881.0, True),
        (LONG.stage_begun(9_200).step_done(300.0), 9_729.0, False),  # the second step takes at most half of the first
        (LONG.stage_begun(9_200).step_done(300.0), 9_731.0, True),
        (LONG.stage_begun(9_700).step_done(300.0).step_done(4.0), 9_874.0, False),  # compiling is not typical
        (LONG.stage_begun(9_700).step_done(300.0).step_done(4.0), 9_876.0, True),
        (LONG.step_done(300.0).stage_begun(9_000), 9_579.0, False),  # the next stage compiles too
        (LONG.step_done(300.0).stage_begun(9_000), 9_581.0, True),
        (LONG.stage_begun(9_300).step_done(1.0).step_done(4.0), 9_874.0, False),  # before a save is due …
        (LONG.stage_begun(9_200).step_done(1.0).step_done(4.0), 9_819.0, False),
        (
            LONG.stage_begun(9_200).step_done(1.0).step_done(4.0),
            9_821.0,
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


def test_a_stage_starts_from_something_that_is_saved() -> None:
    assert not LONG.stage_begun(5_000.0).must_save(5_500.0)


def test_one_slow_step_is_forgotten_after_a_while() -> None:
    budget = LONG.step_done(1.0).step_done(500.0)
    assert budget.step_bound_s == SAFETY * 500.0
    for _ in range(STEPS_KEPT):
        budget = budget.step_done(2.0)
    assert budget.step_bound_s == SAFETY * 2.0


@pytest.mark.parametrize("budget_s", [1.0, 10.0, 1_000.0, 30_000.0])
def test_reserve_and_guess_leave_most_of_any_budget_for_training(budget_s: float) -> None:
    budget = Budget(budget_s=budget_s, save_interval_s=60.0)
    assert budget.reserve_s + budget.save_bound_s <= 0.1 * budget_s
    assert budget.reserve_s <= RESERVE_S_MAX
    assert budget.save_bound_s <= SAVE_GUESS_S_MAX
    assert not budget.must_stop(0.0)


SHARES = st.floats(0.0, 1.0)


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


@settings(deadline=None)
@given(step_s=st.floats(5.0, 100.0), save_s=st.floats(0.01, 100.0))
def test_uses_the_time_there_is(step_s: float, save_s: float) -> None:
    """With steady steps, less is left over at the end than two steps, two saves and the reserve."""
    budget = Budget(budget_s=10_000.0, save_interval_s=20_000.0).stage_begun(0.0).save_done(0.0, save_s)
    now_s = 0.0
    while not budget.must_stop(now_s):
        now_s += step_s
        budget = budget.step_done(step_s)
    assert budget.budget_s - now_s <= 2 * SAFETY * (step_s + save_s) + budget.reserve_s
