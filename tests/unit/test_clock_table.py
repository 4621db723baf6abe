"""What `decide` makes of every kind of time that it is given, as a clock that steps a year or hours forward or back leaves it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.commands import Append, Command, Poll, Push, ReadQuota, Wait
from orchestrator.core.decide import decide
from orchestrator.core.plan import Limits, plan_session
from state.facts.base import Fact
from state.facts.run import RunWaiting
from state.facts.session import PushConfirmed, PushIntended, SeenRunning
from state.memory_store import MemoryStore
from state.model.poll_state import PollState
from state.model.snapshot import QuotaRow, Snapshot, Waiting
from tests.simulation.pipelines import pipeline
from tests.unit.histories import Told

AT = datetime(2030, 1, 7, tzinfo=UTC)
YEAR, HOUR, MINUTE = timedelta(days=365), timedelta(hours=1), timedelta(minutes=1)
PIPELINE = pipeline(session="session: {limit_s: 1000, margin_s: 100, save_interval_s: 200, min_session_s: 300}")
QUOTA = QuotaRow(
    owner="me", accelerator="tpu", used_s=0, reserved_s=0, total_s=72_000, refreshes_at=AT + 24 * HOUR, read_at=AT
)
STEPS = [timedelta(0), YEAR, -YEAR, 7 * HOUR, -7 * HOUR]
BACK = [-YEAR, -7 * HOUR]


def snapshot(*facts: Fact, watch: PollState | None = None, quota: QuotaRow = QUOTA, planned: bool = True) -> Snapshot:
    """A run whose facts all happened at AT."""
    store, told = MemoryStore(), Told()
    started = replace(told.started(), pipeline=PIPELINE.canonical(), pipeline_digest=PIPELINE.digest)
    state = store.begin_run(started, AT)
    plan = (plan_session(state, PIPELINE, None),) if planned else ()
    return Snapshot(state=store.append(started.run, (*plan, *facts), AT), watch=watch or PollState(), quota=quota)


def command(found: Snapshot, now: datetime) -> Command:
    return decide(found, PIPELINE, Limits(), now)


PUSHED = (PushIntended(number=1, attempt=1), PushConfirmed(number=1, attempt=1, kernel_version=1))
RUNNING = (*PUSHED, SeenRunning(number=1, attempt=1))


@pytest.mark.parametrize("by", BACK)
@pytest.mark.parametrize(
    ("facts", "watch", "next_"),
    [
        (RUNNING, PollState(polled_at=AT), Poll(1, 1)),
        (PUSHED, PollState(polled_at=AT), Poll(1, 1)),
        (RUNNING, PollState(not_before=AT + 30 * MINUTE, failure="no"), Poll(1, 1)),
        ((), PollState(not_before=AT + 30 * MINUTE, failure="no"), ReadQuota("tpu")),
        ((), PollState(slot_since=AT, slot_seen_at=AT), ReadQuota("tpu")),
    ],
)
def test_no_time_that_has_not_come_yet_is_waited_for(
    by: timedelta, facts: tuple[Fact, ...], watch: PollState, next_: Command
) -> None:
    """It was noted by a clock that was ahead; hours that were read then are read again."""
    assert command(snapshot(*facts, watch=watch), AT + by) == next_


@pytest.mark.parametrize("by", STEPS)
def test_nothing_is_put_off_for_longer_than_any_wait_lasts(by: timedelta) -> None:
    for until in (AT + 29 * MINUTE, AT + 3 * HOUR, AT + YEAR):
        next_ = command(snapshot(*RUNNING, watch=PollState(not_before=until, failure="no")), AT + by)
        assert not isinstance(next_, Wait) or (next_.until is not None and next_.until - (AT + by) <= 30 * MINUTE)


@pytest.mark.parametrize("by", STEPS)
def test_a_session_that_runs_is_never_given_up_because_the_clock_was_set(by: timedelta) -> None:
    next_ = command(snapshot(*RUNNING, watch=PollState(polled_at=AT, awaiting="end x", waited_at=AT)), AT + by)
    assert isinstance(next_, Poll) or (isinstance(next_, Wait) and next_.until is not None)


@pytest.mark.parametrize(
    ("by", "woken"), [(timedelta(0), False), (HOUR, False), (YEAR, True), (-YEAR, True), (-7 * HOUR, True)]
)
def test_a_wait_for_hours_that_another_clock_began_is_looked_at_anew(by: timedelta, woken: bool) -> None:
    waiting = RunWaiting(until=(AT + 6 * HOUR).isoformat(), reason="few hours")
    next_ = command(snapshot(waiting, planned=False), AT + by)
    assert (type(next_) is Append) is woken


@pytest.mark.parametrize("by", STEPS)
def test_hours_are_read_again_after_a_session_ended_and_only_then(by: timedelta) -> None:
    """The fact says so, whatever time it bears."""
    now = AT + by
    read = replace(QUOTA, read_at=now, refreshes_at=now + HOUR)
    assert command(snapshot(quota=read), now) == Push(1, 1)
    assert command(snapshot(quota=replace(read, outdated=True)), now) == ReadQuota("tpu")


@pytest.mark.parametrize(
    ("since", "seen_at", "ahead"),
    [
        (AT - HOUR, AT - MINUTE, True),
        (AT - HOUR, AT - HOUR, False),  # nobody carries it on any more
        (AT - HOUR, AT + YEAR, False),  # it said so by a clock that was ahead, and not since
        (AT + YEAR, AT, False),
    ],
)
def test_a_run_that_wants_a_slot_counts_only_while_it_says_so(since: datetime, seen_at: datetime, ahead: bool) -> None:
    other = Waiting(run="z-0001", since=since, seen_at=seen_at)
    found = replace(snapshot(watch=PollState(slot_since=AT - MINUTE, slot_seen_at=AT)), waiting=(other,))
    next_ = command(found, AT)
    assert (isinstance(next_, Wait) and next_.wants_slot) is ahead


def test_a_place_in_the_line_that_was_taken_by_a_clock_ahead_counts_from_now() -> None:
    mine = snapshot(watch=PollState(slot_since=AT + YEAR, slot_seen_at=AT + YEAR))
    later = Waiting(run="z-0001", since=AT, seen_at=AT)
    assert command(replace(mine, waiting=(later,)), AT) == Push(1, 1), (
        "both since now, and served in order of their names"
    )
