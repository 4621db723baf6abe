"""Tests of differences: exact, as SciPy computes them, and the same whichever run is named first."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.views.history.significance import fisher, mcnemar


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (0, 5, 2 / 32),
        (6, 0, 2 / 64),
        (1, 5, 2 * (1 + 6) / 64),
        (3, 3, 1.0),
        (10, 25, 0.016666),
        (150, 90, 0.000131),
    ],
)
def test_mcnemars_test_is_a_sign_test_of_the_problems_that_one_alone_solved(
    only_first: int, only_second: int, p: float
) -> None:
    assert mcnemar(only_first, only_second) == pytest.approx(p, rel=1e-2)


@pytest.fixture(scope="module")
def stats() -> Any:
    """SciPy's, which takes seconds to import: only where a test asks for it."""
    from scipy import stats as found

    return found


@pytest.mark.slow
@settings(deadline=None)  # the first call of SciPy takes longer than the others
@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemars_p_is_scipys_of_a_fair_coin(stats: Any, only_first: int, only_second: int) -> None:
    found = mcnemar(only_first, only_second)
    assert found == mcnemar(only_second, only_first)
    if only_first + only_second:
        known = stats.binomtest(only_first, only_first + only_second, 0.5).pvalue
        assert math.isclose(found, known, rel_tol=1e-9)


@pytest.mark.slow
@settings(deadline=None)  # the first call of SciPy takes longer than the others
@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_fishers_p_is_scipys(stats: Any, asked: int, other_asked: int, data: st.DataObject) -> None:
    first = (data.draw(st.integers(0, asked)), asked)
    second = (data.draw(st.integers(0, other_asked)), other_asked)
    table = [[right, all_ - right] for right, all_ in (first, second)]
    found = fisher(first, second)
    assert math.isclose(found, stats.fisher_exact(table).pvalue, rel_tol=1e-6)
    assert found == fisher(second, first)


def test_thousands_of_answers_neither_overflow_nor_vanish() -> None:
    assert mcnemar(1_000, 0) == 2.0**-999
    assert mcnemar(5_000, 0) == 0.0  # less than the least float
    assert 0 < mcnemar(600, 719) < 0.01
    assert fisher((700, 1_319), (700, 1_319)) == 1.0
    assert 0 < fisher((600, 1_319), (700, 1_319)) < 0.001
