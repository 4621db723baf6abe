"""Whether a session that Kaggle cancelled was stopped at its limit is told by Kaggle and by the session, never by this clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.engine.collecting.judgement import TIME_LIMIT, concluded
from orchestrator.engine.home import HomeLayout
from orchestrator.platforms.port import LogLine
from stages.contract import Progress
from state import machine
from state.facts.session import PushConfirmed, PushIntended, SeenEnded, SeenRunning, SessionPlanned
from state.model.run_state import Session
from state.model.statuses import Outcome
from tests.unit.test_damaged_database import BEGUN, COUNTING
from tests.unit.test_machine import PLANNED

AT = datetime(2030, 1, 7, tzinfo=UTC)
LIMIT_S = 1000.0
KEY = {"number": 1, "attempt": 1}
TIMED_OUT, FAILED = Outcome.TIMED_OUT, Outcome.FAILED


def ended(message: str, seen_for: timedelta) -> Session:
    """A session that was seen to run, by this machine's clock, for so long."""
    assert isinstance(PLANNED, SessionPlanned)
    begun = [BEGUN, replace(PLANNED, limit_s=LIMIT_S), PushIntended(**KEY), PushConfirmed(**KEY, kernel_version=1)]
    facts = [(AT, fact) for fact in [*begun, SeenRunning(**KEY)]]
    over = SeenEnded(**KEY, worker="cancel_acknowledged", message=message)
    return machine.fold([*facts, (AT + seen_for, over)]).sessions[0]


@pytest.mark.parametrize(
    ("message", "told_s", "seen_for", "outcome"),
    [
        ("", 990.0, timedelta(seconds=1000), TIMED_OUT),
        ("", 990.0, timedelta(seconds=3), TIMED_OUT),  # the clock was set back, or its start was seen late
        ("", 300.0, timedelta(days=365), FAILED),  # the clock was set forward, or this machine slept
        ("", 300.0, timedelta(seconds=310), FAILED),
        ("", None, timedelta(seconds=1000), FAILED),  # nothing tells that it reached its limit
        (f"Your notebook was stopped because it {TIME_LIMIT}.", None, timedelta(seconds=3), TIMED_OUT),
    ],
)
def test_the_limit_is_told_by_kaggles_message_or_the_sessions_own_clock(
    tmp_path: Path, message: str, told_s: float | None, seen_for: timedelta, outcome: Outcome
) -> None:
    session, home = ended(message, seen_for), HomeLayout(tmp_path)
    if told_s is not None:
        events = [Progress(number=n, event="step", at_s=at_s, stage="count") for n, at_s in enumerate((10.0, told_s))]
        home.append_log(
            session,
            [LogLine(number=n, stream="stdout", at_s=0.0, text=event.line()) for n, event in enumerate(events)],
        )
    assert concluded(session, COUNTING, None, home, None).judgement.outcome is outcome
