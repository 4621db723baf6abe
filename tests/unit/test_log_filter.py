"""`relay logs` shows the lines that are asked for, whichever program wrote them, and no bookkeeping unless asked."""

import re
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.views.log_filter import LogChoice, chosen, log_choice
from orchestrator.views.logs import Notice, SessionHeading, ShownLine
from stages.contract import Cursor, Progress
from state.model.run_state import Session
from state.model.statuses import Phase
from tests.unit.test_machine import AT

SESSION = Session(
    run="r-0001",
    number=1,
    attempt=1,
    slug="r-0001-s0001",
    token="0" * 24,
    phase=Phase.RUNNING,
    start=Cursor(stage="sft", step=0),
    parent=None,
    budget_s=100.0,
    limit_s=100.0,
    planned_at=AT,
    running_at=AT,
)


def event(number: int, name: str, at_s: float, **more: Any) -> str:
    return Progress(number=number, event=name, at_s=at_s, stage="sft", **more).line()


LOG = {
    "installing": "Collecting jax",
    "warned": "/lib/x.py:12: UserWarning: slow",
    "source": "  warnings.warn('slow')",
    "step": event(0, "step", 10.0, step=1, target=4, metrics={"loss": 0.5}),
    "account": event(1, "account", 11.0, seconds={"steps": 10.0}),
    "cut": '@relay {"kind": "progress", "numb',
    "absl": "W0105 10:11:12.123456 1 backend.cc:1] no TPU",
    "logging": "2027-01-05 10:11:12 ERROR root: it broke",
    "traceback": "Traceback (most recent call last):",
    "frame": '  File "x.py", line 1, in <module>',
    "raised": "ValueError: no rows",
    "after": "cleaning up",
    "failed": event(2, "failed", 20.0, note="ValueError"),
}
EVERY = tuple(LOG)
READABLE = tuple(name for name in EVERY if name not in ("account", "cut"))


def shown(choice: LogChoice) -> tuple[str, ...]:
    lines = [ShownLine(SESSION, number, text) for number, text in enumerate(LOG.values())]
    names = {text: name for name, text in LOG.items()}
    return tuple(names[line.text] for line in chosen(lines, choice) if isinstance(line, ShownLine))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (LogChoice(), EVERY),
        (LogChoice(bookkeeping=False), READABLE),
        (LogChoice(pattern=re.compile("loss")), ("step",)),
        (LogChoice(pattern=re.compile("step 1/4")), ("step",)),
        (LogChoice(pattern=re.compile("^Collecting|rows$")), ("installing", "raised")),
        (LogChoice(level="error"), ("logging", "traceback", "frame", "raised", "failed")),
        (
            LogChoice(level="warning"),
            ("warned", "source", "absl", "logging", "traceback", "frame", "raised", "failed"),
        ),
        (LogChoice(since=AT + timedelta(seconds=10)), EVERY[3:]),
        (LogChoice(since=AT + timedelta(seconds=20)), ("failed",)),
        (LogChoice(since=AT + timedelta(seconds=21)), ()),
        (LogChoice(pattern=re.compile("line"), level="error"), ("frame",)),
    ],
)
def test_the_lines_that_are_asked_for_are_shown(choice: LogChoice, expected: tuple[str, ...]) -> None:
    assert shown(choice) == expected


def test_headings_and_notices_stay_and_a_new_session_begins_anew() -> None:
    pieces = [ShownLine(SESSION, 0, LOG["traceback"]), Notice("Kaggle answers again"), SessionHeading(SESSION)]
    later = ShownLine(SESSION, 0, "hello")
    assert [*chosen([*pieces, later], LogChoice(level="error"))] == pieces


def test_a_time_that_kaggle_states_counts() -> None:
    line = ShownLine(SESSION, 0, "hello", at_s=30.0)
    assert [*chosen([line], LogChoice(since=AT + timedelta(seconds=25)))] == [line]


@pytest.mark.parametrize(
    ("grep", "since", "message"),
    [("(", None, "--grep '\\(' is no regular expression"), (None, "soon", "--since 'soon' is no time: write 30min")],
)
def test_an_option_that_cannot_be_read_is_refused_with_what_to_write(
    grep: str | None, since: str | None, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        log_choice(grep, since, None, AT, bookkeeping=False)


def test_minutes_count_back_from_now() -> None:
    assert log_choice(None, "30min", None, AT, bookkeeping=True).since == AT - timedelta(minutes=30)
