"""A session is looked at often where something is likely to happen, and rarely in between."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.plan import Limits, limits_for
from orchestrator.core.polling import next_poll_at, poll_interval_s
from orchestrator.pipeline.loader import parse
from stages.contract import Cursor
from state.model.poll_state import PollState
from state.model.run_state import Session
from state.model.statuses import Phase

PUSHED = datetime(2030, 1, 7, tzinfo=UTC)
BEGAN = PUSHED + timedelta(minutes=12)
LIMIT_S = 32_400.0
PUSH = Session(
    run="r-0001",
    number=1,
    attempt=1,
    slug="r-0001-s0001",
    token="t",
    phase=Phase.PUSHED,
    start=Cursor(stage="count", step=0),
    parent=None,
    budget_s=LIMIT_S - 300,
    limit_s=LIMIT_S,
    planned_at=PUSHED,
    pushed_at=PUSHED,
)
RUNNING = replace(PUSH, phase=Phase.RUNNING, running_at=BEGAN)


def limits(limit_s: float) -> Limits:
    return limits_for(
        parse(f"{{name: p, session: {{limit_s: {limit_s}}}, stages: [{{name: a, kind: counting, steps: 1}}]}}", "p")
    )


NINE_HOURS = limits(LIMIT_S)


@pytest.mark.parametrize(
    ("session", "since_s", "seconds"),
    [
        (PUSH, 0, 30),  # a session that fails at once, or starts at once
        (PUSH, 300, 75),
        (replace(PUSH, phase=Phase.QUEUED), 3600, 120),  # in the queue, for hours
        (RUNNING, 12 * 60, 30),  # it has just begun, and installs its packages
        (RUNNING, 12 * 60 + 600, 150),
        (RUNNING, 12 * 60 + 3600, 270),  # mid-session
        (RUNNING, 12 * 60 + 20_000, 270),
        (RUNNING, 12 * 60 + LIMIT_S - 300 - 600, 150),  # ten minutes before it has everything saved
        (RUNNING, 12 * 60 + LIMIT_S - 300 - 60, 30),
        (RUNNING, 12 * 60 + LIMIT_S - 300, 30),
        (RUNNING, 12 * 60 + LIMIT_S - 150, 37.5),  # late: between its own end and Kaggle's
        (RUNNING, 12 * 60 + LIMIT_S + 30, 30),  # Kaggle should have killed it
        (RUNNING, 12 * 60 + LIMIT_S + 7200, 270),  # and does not
    ],
)
def test_looks_are_dense_where_something_is_expected(session: Session, since_s: float, seconds: float) -> None:
    at = PUSHED + timedelta(seconds=since_s)
    assert poll_interval_s(session, at, NINE_HOURS) == seconds
    assert next_poll_at(session, PollState(polled_at=at), NINE_HOURS, at) == at + timedelta(seconds=seconds)


@pytest.mark.parametrize(("ahead_s", "seconds"), [(7200, 270), (800, 200), (60, 30), (-60, 30), (-7200, 270)])
def test_looks_are_dense_where_the_last_step_is_about_to_be_done(ahead_s: float, seconds: float) -> None:
    at = BEGAN + timedelta(hours=4)
    watch = PollState(polled_at=at, done_at=at + timedelta(seconds=ahead_s))
    assert next_poll_at(RUNNING, watch, NINE_HOURS, at) == at + timedelta(seconds=seconds)


@pytest.mark.slow
def test_no_look_misses_the_moment_that_something_is_expected_by_more_than_the_shortest_wait() -> None:
    for start_s in range(0, 3600, 7):
        at = BEGAN + timedelta(seconds=start_s)
        for end_s in (RUNNING.budget_s, RUNNING.limit_s):
            end = BEGAN + timedelta(seconds=end_s)
            while at < end:
                at += timedelta(seconds=poll_interval_s(RUNNING, at, NINE_HOURS))
            assert at - end <= timedelta(seconds=NINE_HOURS.poll_s)


@pytest.mark.parametrize("limit_s", [4, 60, 600, 3600])
def test_a_short_rehearsal_is_looked_at_as_often_all_the_way(limit_s: float) -> None:
    patience = limits(limit_s)
    session = replace(RUNNING, budget_s=limit_s * 0.9, limit_s=float(limit_s))
    for share in range(12):
        at = BEGAN + timedelta(seconds=limit_s * share / 10)
        assert poll_interval_s(session, at, patience) == max(0.5, limit_s / 1000)


def test_a_time_that_a_wrong_clock_has_left_is_not_waited_for() -> None:
    now = BEGAN + timedelta(hours=1)
    for polled_at in (None, now + timedelta(days=300)):
        assert next_poll_at(RUNNING, PollState(polled_at=polled_at), NINE_HOURS, now) == now


@pytest.mark.parametrize(
    ("limit_s", "unclear_s", "visible_s", "processing_s"),
    [(LIMIT_S, 600, 1800, 21600), (600, 600, 1800, 21600), (60, 60, 180, 2160)],  # the last is a rehearsal's
)
def test_what_is_looked_for_is_looked_for_as_long_in_every_session_that_kaggle_may_have(
    limit_s: float, unclear_s: float, visible_s: float, processing_s: float
) -> None:
    found = limits(limit_s)
    assert (found.unclear_s, found.visible_s, found.processing_s) == (unclear_s, visible_s, processing_s)
