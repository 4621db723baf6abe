"""When a session is polled next: the session · the last poll · the seconds to the next one · why."""

import pytest

from orchestrator.core.plan import Limits
from orchestrator.core.polling import next_poll_at, poll_interval_s
from state.model.poll_state import PollState
from state.model.run_state import Session
from state.model.statuses import Phase
from tests.unit.core.situations import HOUR, NOW, YEAR, at, row, session

LIMITS = Limits(calm=9.0)
NINE_HOURS = {"budget_s": 9 * HOUR - 100, "limit_s": 9 * HOUR}


def pushed(ago_s: float) -> Session:
    return session(Phase.PUSHED, pushed_at=at(-ago_s), **NINE_HOURS)


def queued(ago_s: float) -> Session:
    return session(Phase.QUEUED, pushed_at=at(-ago_s), **NINE_HOURS)


def running(for_s: float) -> Session:
    return session(Phase.RUNNING, pushed_at=at(-for_s - 200), running_at=at(-for_s), **NINE_HOURS)


@pytest.mark.parametrize(
    ("of", "done_in_s", "seconds"),
    [
        row("pushed just now: it may start at once", pushed(0), None, 30),
        row("pushed five minutes ago: a quarter of that", pushed(300), None, 75),
        row("in the queue for long: at most four intervals", queued(2 * HOUR), None, 120),
        row("begun just now: it may fail at once", running(0), None, 30),
        row("begun ten minutes ago", running(600), None, 150),
        row("begun an hour ago: at most nine intervals", running(HOUR), None, 270),
        row("its last step is near", running(HOUR), 400, 100),
        row("its last step should be done", running(HOUR), -400, 100),
        row("its last step is far: its beginning is nearer", running(600), HOUR, 150),
        row("ten minutes before its own stop", running(9 * HOUR - 700), None, 150),
        row("at its own stop", running(9 * HOUR - 100), None, 30),
        row("between its own stop and Kaggle's", running(9 * HOUR - 50), None, 30),
        row("ten minutes after Kaggle's", running(9 * HOUR + 600), None, 150),
        row("long after Kaggle's", running(12 * HOUR), None, 270),
        row("nothing is known of it", session(Phase.PUSHED), None, 30),
    ],
)
def test_polls_are_frequent_near_what_is_expected(of: Session, done_in_s: float | None, seconds: float) -> None:
    done_at = None if done_in_s is None else at(done_in_s)
    assert poll_interval_s(of, NOW, LIMITS, done_at) == seconds
    watch = PollState(polled_at=NOW, done_at=done_at)
    assert next_poll_at(of, watch, LIMITS, NOW) == at(seconds)


@pytest.mark.parametrize(
    ("looked_s", "due_s"),
    [
        row("never polled", None, 0),
        row("polled just now", 0, 30),
        row("polled by a clock that was ahead", 1, 0),
        row("polled by a clock that was a year ahead", YEAR, 0),
        row("polled long ago", -999, -969),
    ],
)
def test_a_poll_is_due_an_interval_after_the_last(looked_s: float | None, due_s: float) -> None:
    watch = PollState(polled_at=None if looked_s is None else at(looked_s))
    assert next_poll_at(session(Phase.PUSHED), watch, LIMITS, NOW) == at(due_s)


def test_a_queue_is_never_polled_less_often_than_a_running_session() -> None:
    assert poll_interval_s(queued(2 * HOUR), NOW, Limits(calm=2.0)) == 60
