"""Times of a clock that was ahead move to before it was put right: in their order, and as far apart as they were."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.chronology import TICK, in_order, moved_back

AT = datetime(2030, 1, 7, tzinfo=UTC)
YEAR, HOUR, MINUTE = timedelta(days=365), timedelta(hours=1), timedelta(minutes=1)

offsets = st.lists(st.integers(-(10**12), 10**12), max_size=20).map(
    lambda found: [timedelta(microseconds=n) for n in found]
)


def test_nothing_moves_where_no_clock_was_ahead() -> None:
    assert moved_back([AT - HOUR, AT - MINUTE], AT) == {}


def test_what_was_written_a_year_ahead_lies_just_before_and_as_far_apart() -> None:
    moved = moved_back([AT - 2 * HOUR, AT + YEAR, AT + YEAR + MINUTE], AT)
    assert moved == {AT + YEAR + MINUTE: AT - TICK, AT + YEAR: AT - MINUTE - TICK}


def test_what_was_written_before_the_clock_went_ahead_stays_before() -> None:
    """Three minutes were written ahead, and the clock was ahead by one: the first of them would come to lie too early."""
    moved = moved_back([AT - MINUTE, AT + MINUTE, AT + 4 * MINUTE], AT)
    assert AT - MINUTE < moved[AT + MINUTE] < moved[AT + 4 * MINUTE] < AT


@pytest.mark.slow
@given(offsets)
def test_the_order_of_times_stays_whatever_the_clock_did(found: list[timedelta]) -> None:
    times = [AT + offset for offset in found]
    moved = moved_back(times, AT)
    new = [moved.get(time, time) for time in sorted(set(times))]
    assert new == sorted(set(new)) and len(new) == len(set(times))


@pytest.mark.slow
@given(offsets)
def test_a_log_put_in_order_never_goes_back_and_keeps_its_entries(found: list[timedelta]) -> None:
    log = [(AT + offset, number) for number, offset in enumerate(found)]
    put = in_order(log)
    assert [item for _, item in put] == [item for _, item in log]
    assert all(before <= after for (before, _), (after, _) in itertools.pairwise(put))
    assert not log or put[-1] == log[-1]


@pytest.mark.parametrize("ahead", [YEAR, 3 * HOUR])
def test_a_log_of_a_clock_that_was_ahead_for_a_while_has_its_durations(ahead: timedelta) -> None:
    log = [(AT, "a"), (AT + ahead + HOUR, "b"), (AT + ahead + 3 * HOUR, "c"), (AT + 4 * HOUR, "d")]
    put = {item: at for at, item in in_order(log)}
    assert put["c"] - put["b"] == 2 * HOUR
    assert put["a"] == AT and put["d"] == AT + 4 * HOUR
    assert put["a"] < put["b"] < put["c"] < put["d"]
