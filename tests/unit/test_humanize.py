"""A duration has one text, whichever screen, page or log shows it, and times of day have one form each."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.base.humanize import log_time, machine_time, utc_time
from orchestrator.views.pages.words import duration_or_dash
from stages.session.duration_text import duration

SECONDS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
TEXT = re.compile(r"(?:[\d,]+ (?:d|h|min)|[\d.]+ s)(?: \d+ (?:h|min|s))?")


def read(text: str) -> float:
    """The seconds that a text states."""
    words = text.replace(",", "").split()
    return sum(float(count) * SECONDS[unit] for count, unit in zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (0.0381, "0.038 s"),
        (0.4, "0.4 s"),
        (3.6, "3.6 s"),
        (5, "5 s"),
        (38.2, "38 s"),
        (59.99, "59 s"),
        (60, "1 min"),
        (119.99999999, "2 min"),
        (245, "4 min 5 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (86_400 + 60, "1 d"),
        (183_600, "2 d 3 h"),
        (86_400 * 182, "182 d"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units_and_never_too_long(seconds: float, text: str) -> None:
    assert duration(seconds) == duration_or_dash(seconds) == text


def test_machine_time_is_told_in_hours_as_quota_is_counted() -> None:
    assert [machine_time(seconds) for seconds in (90, 7200, 86_400, 102_600, 15_000_000)] == [
        "1 min 30 s", "2 h", "24 h", "28 h 30 min", "4,166 h 40 min",
    ]  # fmt: skip


@pytest.mark.slow
@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
@example(59.5, 59.99)
@example(9.94, 9.96)
@example(3599.9, 3600.0)
def test_no_duration_is_negative_or_has_sixty_of_a_unit_and_longer_ones_are_not_told_as_shorter(
    one: float, other: float
) -> None:
    less, more = sorted((one, other))
    for form in (duration, machine_time):
        for seconds in (less, more):
            assert TEXT.fullmatch(form(seconds)), form(seconds)
            assert not re.search(r"\b60 (s|min)", form(seconds))
        assert 0 <= read(form(less)) <= read(form(more))
        assert read(form(more)) <= max(0.0, more) * 1.05 + 1e-5
    assert not re.search(r"\b24 h", duration(more))


def test_a_time_whose_reader_is_far_away_is_told_in_utc() -> None:
    at = datetime(2026, 12, 2, 4, 31, 7, tzinfo=UTC)
    assert utc_time(at.astimezone(datetime.now().astimezone().tzinfo)) == "2026-12-02 04:31 UTC"
    assert log_time(at + timedelta(seconds=1)) == "2026-12-02T04:31:08Z"
