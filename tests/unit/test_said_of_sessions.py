"""What is said of a session's time, and of one whose kernel somebody has deleted."""

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.core.commands import Append
from orchestrator.core.decide import decide
from orchestrator.core.plan import Limits
from orchestrator.views.format import elapsed_text
from orchestrator.views.live import session_line
from orchestrator.views.text import session_clock
from state import machine
from state.facts.session import SessionLost
from state.model.poll_state import PollState
from state.model.snapshot import Request, Snapshot
from state.model.statuses import Phase
from state.store import Store
from tests.unit.test_machine import AT, STARTED, path_to
from tests.unit.test_safekeeping import PIPELINE
from tests.unit.test_status_screen import NOW, Place


@pytest.mark.parametrize(
    ("seconds", "limit_s", "said"),
    [
        (0.0, 20.0, "0 s of 20 s"),
        (19.6, 20.0, "19 s of 20 s"),
        (31.0, 20.0, "20 s of 20 s"),
        (7e6, 43200.0, "12 h of 12 h"),
    ],
)
def test_no_session_has_had_more_than_all_of_its_time(seconds: float, limit_s: float, said: str) -> None:
    assert elapsed_text(seconds, limit_s) == said


def session(seconds: float, phase: str = "running") -> dict[str, object]:
    return {
        "number": 3, "phase": phase, "seconds": seconds, "limit_s": 20.0, "stops_by": (AT + timedelta(seconds=15)).isoformat(),
        "pushed_at": AT.isoformat(), "planned_at": AT.isoformat(),
    }  # fmt: skip


def test_a_session_whose_time_is_over_says_so_instead_of_when_it_would_have_stopped() -> None:
    assert "10 s of 20 s, stops itself by" in session_clock(session(10.0), AT)
    over = session_clock(session(31.0), AT + timedelta(seconds=31))
    assert over.endswith("20 s of 20 s: its time is over, and relay has yet to see how it ended")
    run = {"sessions": [session(31.0, "ended")], "stages": [], "steps_total": 4, "created_at": AT.isoformat()}
    assert "session 3 ended 20 s of 20 s" in session_line(run, AT)


@pytest.mark.parametrize(
    ("failures", "absences", "offered"),
    [
        (3, 2, False),
        (3, 3, True),
        (0, 3, False),  # looks for a push that had no clear answer: nothing has failed, and nothing is gone
    ],
)
def test_a_session_whose_kernel_is_said_to_be_gone_can_be_written_off(
    tmp_path: Path, failures: int, absences: int, offered: bool
) -> None:
    place = Place(tmp_path, Store.at(tmp_path))
    place.begin("gsm-0001", *path_to(Phase.RUNNING))
    failing = PollState(
        failures=failures,
        failure="Kaggle has no kernel gsm-0001-s0001 any more",
        absences=absences,
        not_before=NOW,
    )
    place.store.append("gsm-0001", [], AT, watch=failing)
    assert place.to_do("gsm-0001")[1] == "relay daemon"
    place.store.take_lease("here/12/34", NOW, 60)
    says, type_ = place.to_do("gsm-0001")
    assert type_ == ("relay resume gsm-0001 --abandon-session" if offered else None)
    assert ("if you deleted it, abandon the session" in says) == offered


@pytest.mark.parametrize(
    ("phase", "slug", "lost"),
    [
        (Phase.RUNNING, "r-0001-s0001", True),
        (Phase.ENDED, "r-0001-s0001", True),
        (Phase.RUNNING, "r-0001-s0009", False),
    ],
)
def test_a_session_of_a_run_that_goes_on_is_written_off_at_once_and_no_other(
    phase: Phase, slug: str, lost: bool
) -> None:
    state = machine.begin(STARTED, AT)
    for fact in path_to(phase):
        state = machine.apply(state, fact, AT)
    asked = Request(id=7, run="r-0001", verb="resume", arguments={"abandon_session": slug}, made_at=AT)
    command = decide(Snapshot(state=state, requests=(asked,)), PIPELINE, Limits(), NOW)
    assert isinstance(command, Append)
    assert command.fulfilled == 7
    assert [type(fact) for fact in command.facts] == ([SessionLost] if lost else [])
