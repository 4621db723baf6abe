"""A wait is as long as relay was there to see it, and no command is repeated without a rest, however the clock is set."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core import waits
from orchestrator.core.commands import Poll, Push, ReadQuota, Wait
from orchestrator.core.plan import Limits, assumed_quota, refresh_time
from orchestrator.core.rate_limit import wait_before, with_command_counted
from state.model.poll_state import PollState
from state.model.snapshot import CallsMade, MachineTime, QuotaRow, Snapshot
from state.model.statuses import Phase
from tests.unit.test_machine import state_in

AT = datetime(2030, 1, 7, tzinfo=UTC)
YEAR, HOUR, MINUTE, SECOND = timedelta(days=365), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
LIMITS = Limits()
SNAPSHOT = Snapshot(state=state_in(Phase.QUEUED))


@pytest.mark.parametrize(
    ("looks", "waited_s"),
    [
        ([AT, AT + MINUTE, AT + 2 * MINUTE], 120),
        ([AT, AT + YEAR, AT + YEAR + MINUTE], 240 + 60),  # set forward: it counts as two usual intervals of two minutes
        ([AT, AT - YEAR, AT - YEAR + MINUTE], 60),  # set back
        ([AT, AT + YEAR, AT + MINUTE, AT + 2 * MINUTE], 240 + 60),  # forward and back
        ([AT, AT - 5 * HOUR, AT + MINUTE], 240),
        ([AT, AT + 9 * HOUR], 240),  # a laptop that slept
    ],
)
def test_no_clock_and_no_sleep_make_a_wait_longer_than_it_was_seen(looks: list[datetime], waited_s: float) -> None:
    watch = PollState()
    for at in looks:
        watch = waits.with_poll_counted(watch, "queue r-0001-s0001", LIMITS, at)
    assert watch.waited_s == waited_s


def test_another_wait_begins_from_nothing() -> None:
    watch = waits.with_poll_counted(
        PollState(awaiting="queue r-0001-s0001", waited_s=9e9, waited_at=AT), "end r-0001-s0001", LIMITS, AT
    )
    assert (watch.awaiting, watch.waited_s) == ("end r-0001-s0001", 0.0)


@pytest.mark.parametrize(
    ("phase", "waited_s", "late"),
    [
        (Phase.QUEUED, 6 * 3600 - 1, False),
        (Phase.QUEUED, 6 * 3600, True),
        (Phase.RUNNING, 10 + 3600 - 1, False),  # its limit is ten seconds
        (Phase.RUNNING, 10 + 3600, True),
        (Phase.ENDED, 9e9, False),
    ],
)
def test_every_wait_for_a_session_has_a_bound(phase: Phase, waited_s: float, late: bool) -> None:
    session = state_in(phase).session(1, 1)
    watch = PollState(awaiting=waits.awaited_event(session), waited_s=waited_s)
    assert waits.waited_too_long(watch, session, LIMITS) is late


# --- the floor ---------------------------------------------------------------------


def after(command: Poll | Push | ReadQuota, at: datetime, watch: PollState | None = None, calls: int = 1) -> Snapshot:
    before = watch or PollState()
    return replace(SNAPSHOT, watch=with_command_counted(before, before, command, calls, LIMITS, at))


def test_no_command_is_repeated_before_time_has_passed_and_others_may_follow() -> None:
    snapshot = after(ReadQuota("tpu"), AT)
    rest = wait_before(ReadQuota("tpu"), snapshot, LIMITS, AT + SECOND)
    assert rest is not None and rest.held and rest.until == AT + timedelta(seconds=LIMITS.floor_s)
    assert wait_before(Push(1, 1), snapshot, LIMITS, AT + SECOND) is None
    assert wait_before(ReadQuota("tpu"), snapshot, LIMITS, rest.until) is None
    assert wait_before(Wait(None, "why"), snapshot, LIMITS, AT) is None


def test_a_rest_that_is_over_already_is_no_rest() -> None:
    rest = wait_before(Wait(AT - SECOND, "why", wants_slot=True), SNAPSHOT, LIMITS, AT)
    assert rest == Wait(AT + timedelta(seconds=LIMITS.floor_s), "why", wants_slot=True, held=True)
    assert wait_before(Wait(AT + SECOND, "why"), SNAPSHOT, LIMITS, AT) is None


def test_a_circle_of_several_commands_is_held_too() -> None:
    snapshot = after(Push(1, 1), AT + SECOND, after(ReadQuota("tpu"), AT).watch)
    assert wait_before(ReadQuota("tpu"), snapshot, LIMITS, AT + 2 * SECOND) is not None
    assert wait_before(Push(1, 1), snapshot, LIMITS, AT + 2 * SECOND) is not None


@pytest.mark.parametrize("by", [YEAR, -YEAR, HOUR, -HOUR])
def test_the_floor_holds_nothing_up_for_longer_when_the_clock_is_set(by: timedelta) -> None:
    assert wait_before(Poll(1, 1), after(Poll(1, 1), AT), LIMITS, AT + by) is None


def test_an_account_has_a_budget_of_calls_a_minute_for_all_its_runs_and_what_exceeds_it_waits_and_says_so() -> None:
    snapshot = after(Poll(1, 1), AT, calls=70)
    others = (CallsMade(since=AT - 30 * SECOND, calls=49), CallsMade(since=AT - HOUR, calls=500))
    now = AT + 10 * SECOND
    assert wait_before(Poll(1, 1), replace(snapshot, others_calls=others), LIMITS, now) is None
    more = (*others, CallsMade(since=AT, calls=1))
    rest = wait_before(Poll(1, 1), replace(snapshot, others_calls=more), LIMITS, now)
    assert rest is not None and rest.until == AT + 30 * SECOND
    assert rest.why == "120 calls to Kaggle were made within a minute: further calls wait"
    ahead = (CallsMade(since=AT + YEAR, calls=1000),)
    assert wait_before(Poll(1, 1), replace(snapshot, others_calls=ahead), LIMITS, now) is None, (
        "of a clock that was ahead"
    )


# --- the hours ----------------------------------------------------------------------

ROW = QuotaRow(owner="me", accelerator="tpu", used_s=0, reserved_s=0, total_s=None, refreshes_at=None, read_at=AT)
BEGIN, LIMIT_S = AT - HOUR, 9 * 3600.0


@pytest.mark.parametrize(
    ("began_at", "ended_at", "used_s", "reserved_s"),
    [
        (BEGIN, AT, 3600, 0),
        (BEGIN, None, 3600, LIMIT_S - 3600),
        (BEGIN, AT + YEAR, 3600, 0),  # it ended while the clock was ahead
        (AT - 40 * HOUR, AT + YEAR, LIMIT_S, 0),  # as long as it may at most
        (AT + YEAR, AT + YEAR + HOUR, 0, 0),
        (AT + YEAR, None, 0, LIMIT_S),  # it began while the clock was ahead, and goes on
        (AT + YEAR, AT, 0, 0),
        (AT - 40 * HOUR, None, LIMIT_S, 0),
    ],
)
def test_no_session_takes_less_than_nothing_or_more_than_its_limit(
    began_at: datetime, ended_at: datetime | None, used_s: float, reserved_s: float
) -> None:
    found = assumed_quota(ROW, 20.0, [MachineTime(began_at=began_at, ended_at=ended_at, limit_s=LIMIT_S)], AT)
    assert (found.used_s, found.reserved_s) == (used_s, reserved_s)


@pytest.mark.parametrize(
    ("refreshes_at", "again"),
    [
        (None, AT + 15 * MINUTE),
        (AT + HOUR, AT + HOUR),
        (AT - HOUR, AT + 15 * MINUTE),  # the clock is ahead, or Kaggle does not renew
        (AT + YEAR, AT + 15 * MINUTE),  # the clock is behind: a wait of a year would be woken and begun again at once
        (datetime.max.replace(tzinfo=UTC), AT + 15 * MINUTE),
        (datetime.min.replace(tzinfo=UTC), AT + 15 * MINUTE),
    ],
)
def test_a_time_of_renewal_that_this_clock_cannot_make_sense_of_is_not_waited_for(
    refreshes_at: datetime | None, again: datetime
) -> None:
    assert refresh_time(replace(ROW, refreshes_at=refreshes_at), AT) == again
