"""What is shown of times is neither negative nor longer than a session may last, whatever clock wrote it down."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.app.notify.messages import holds_up
from orchestrator.core.durations import estimate_durations
from orchestrator.core.run_history import RunHistory
from orchestrator.core.time_classes import SESSION_GROUPS
from orchestrator.pipeline.loader import parse
from orchestrator.views.history.timeline import timeline
from orchestrator.views.run_document import run_document
from state.leases import Lease
from state.memory_store import MemoryStore
from state.model.poll_state import PollState
from state.model.run_state import RunState
from state.model.snapshot import CallsMade, QuotaRow
from state.model.statuses import Phase
from state.store import Store
from tests.unit.histories import Told
from tests.unit.test_machine import SAMPLES, STARTED, OutputCollected, SeenEnded, path_to, state_in

AT = datetime(2030, 1, 7, tzinfo=UTC)
YEAR, HOUR, MINUTE = timedelta(days=365), timedelta(hours=1), timedelta(minutes=1)
LIMIT_S = 9 * 3600.0
COUNTING = parse("{name: r, stages: [{name: count, kind: counting, steps: 80}]}", "r.yaml")
BEGUN = replace(STARTED, pipeline=COUNTING.canonical())


def session(began_at: datetime | None, ended_at: datetime | None, told_s: float = 0.0) -> RunState:
    state = state_in(Phase.ENDED if ended_at else Phase.RUNNING)
    told = {"step": told_s} if told_s else {}
    found = replace(state.session(1, 1), running_at=began_at, ended_at=ended_at, limit_s=LIMIT_S, seconds=told)
    return replace(state, run=replace(state.run, pipeline=COUNTING.canonical()), sessions=(found,))


@pytest.mark.parametrize(
    ("began_at", "ended_at", "told_s", "seconds"),
    [
        (AT - HOUR, AT, 0, 3600),
        (AT - HOUR, None, 0, 3600),
        (AT - 74 * HOUR, AT, 0, LIMIT_S),  # the clock went forward, or this machine slept
        (AT - YEAR, None, 0, LIMIT_S),
        (AT, AT - 2 * HOUR, 1800, 1800),  # the clock went back: what the session's own clock told
        (AT, AT - 2 * HOUR, 9e9, LIMIT_S),
        (AT - timedelta(seconds=1), AT, 1800, 1800),  # it was put right, and what lay ahead was moved to before it
        (AT, AT - 2 * HOUR, 0, None),  # nobody knows, and nobody says so
        (AT + YEAR, None, 0, None),
    ],
)
def test_a_sessions_hours_are_bounded_and_unknown_where_nobody_knows(
    began_at: datetime, ended_at: datetime | None, told_s: float, seconds: float | None
) -> None:
    document = run_document(session(began_at, ended_at, told_s), (), AT)
    assert document["sessions"][0]["seconds"] == seconds


@pytest.mark.parametrize("by", [YEAR, -YEAR, 5 * HOUR, -5 * HOUR])
def test_no_stretch_of_the_calendar_is_negative_and_no_session_runs_longer_than_its_limit(by: timedelta) -> None:
    store = MemoryStore()
    store.begin_run(BEGUN, AT)
    for number, fact in enumerate([*path_to(Phase.RUNNING), SAMPLES[SeenEnded], SAMPLES[OutputCollected]]):
        store.append(STARTED.run, [fact], AT + number * MINUTE + (by if number > 3 else timedelta(0)))
    now = AT + HOUR
    state, happened = store.load_with_facts(STARTED.run)
    found = timeline(run_document(state, (), now), happened, {}, now)
    assert found["seconds"] >= 0
    assert all(group["seconds"] >= 0 for group in found["groups"])
    running_s = sum(group["seconds"] for group in found["groups"] if group["key"] in SESSION_GROUPS)
    assert running_s <= state.sessions[0].limit_s


@pytest.mark.parametrize("queues", [(20, -300, -310), (20, 60 * 24 * 364, 60 * 24 * 365)])
def test_what_was_measured_while_the_clock_was_set_tells_nothing_of_how_long_things_take(
    queues: tuple[int, ...],
) -> None:
    told = Told()
    states = [session(AT + minutes * MINUTE, AT + HOUR) for minutes in queues]
    sessions = [replace(state.sessions[0], pushed_at=AT) for state in states]
    seen = RunHistory(run="r", pipeline=told.pipeline, sessions=sessions, checkpoints=(), steps=(), reported={})
    assert estimate_durations(told.pipeline, seen).queue_s.usual_s == 1200


@pytest.mark.parametrize(
    ("ahead", "alive", "held"),
    [
        (MINUTE, None, True),
        (MINUTE, True, True),
        (MINUTE, False, False),
        (-MINUTE, True, False),
        (13 * HOUR, None, False),  # given by a clock that was ahead
        (YEAR, None, False),
        (YEAR, True, True),
    ],
)
def test_a_lease_holds_while_a_clock_that_is_right_may_have_given_it(
    ahead: timedelta, alive: bool | None, held: bool
) -> None:
    assert Lease("a/1/2", 1, AT + ahead).held(AT, alive) is held


@pytest.mark.parametrize(
    ("since", "failing_s", "told"),
    [
        (AT - HOUR, 0.0, True),
        (AT - MINUTE, 60.0, False),
        (AT + YEAR, 60.0, False),
        (AT + YEAR, 3600.0, True),  # it has failed for an hour, whenever that began by a clock that was ahead
    ],
)
def test_a_person_is_told_of_a_kaggle_that_is_away_whenever_that_began(
    since: datetime, failing_s: float, told: bool
) -> None:
    watch = PollState(failures=5, failing_since=since, failing_s=failing_s, not_before=AT + MINUTE, failure="busy")
    assert holds_up(watch, AT) is told


@pytest.mark.parametrize("kind", ["database", "memory"])
def test_the_end_of_a_session_outdates_what_was_read_of_the_hours_whatever_time_it_bears(
    kind: str, tmp_path: Path
) -> None:
    store = MemoryStore() if kind == "memory" else Store.at(tmp_path / "home")
    store.begin_run(STARTED, AT)
    store.append(STARTED.run, path_to(Phase.RUNNING), AT)
    row = QuotaRow(
        owner="me", accelerator="tpu", used_s=0, reserved_s=0, total_s=9.0, refreshes_at=None, read_at=AT + HOUR
    )
    for other in (row, replace(row, accelerator="gpu"), replace(row, owner="you")):
        store.write_quota(other)
    store.append(STARTED.run, [SAMPLES[SeenEnded]], AT - YEAR)
    assert {(q.owner, q.accelerator): q.outdated for q in store.quotas()} == {
        ("me", "tpu"): True,
        ("me", "gpu"): False,
        ("you", "tpu"): False,
    }
    store.write_quota(row)
    assert store.snapshot(STARTED.run).quota == row


@pytest.mark.parametrize("kind", ["database", "memory"])
def test_a_run_knows_what_others_of_its_account_called(kind: str, tmp_path: Path) -> None:
    store = MemoryStore() if kind == "memory" else Store.at(tmp_path / "home")
    for run, owner in (("r-0001", "me"), ("r-0002", "me"), ("r-0003", "you")):
        store.begin_run(replace(STARTED, run=run, owner=owner), AT)
        store.append(
            run,
            [],
            AT,
            watch=PollState(
                calls=7, calls_since=AT, recent_commands="a b", recent_commands_at=AT, awaiting="slot", waited_s=5.0
            ),
        )
    assert store.snapshot("r-0001").others_calls == (CallsMade(since=AT, calls=7),)
    store.clear_poll_times(store.take_lease("a", AT, 60).fence)
    assert store.snapshot("r-0001").others_calls == ()
    assert store.watch("r-0001").waited_s == 5.0, "how long something was awaited is no time of a clock"
