"""Waits for Kaggle: what the run waits for · for how long · the verdict · why."""

from dataclasses import replace

import pytest

from orchestrator.core import waits
from orchestrator.core.commands import Collect, Command, Poll, Push, ReadQuota
from orchestrator.core.plan import Limits
from state.facts.base import Fact
from state.facts.run import RunParked
from state.facts.session import PushConfirmed, PushHeld, PushRefused
from state.model.poll_state import PollState
from state.model.run_state import RunState, Session
from state.model.snapshot import QuotaRow
from state.model.statuses import Phase, RunStatus
from tests.unit.core.situations import (
    DAY,
    HOUR,
    LIMITS,
    NOW,
    RUN,
    YEAR,
    at,
    given,
    quota,
    row,
    run,
    session,
    state,
)

SLUG = f"{RUN}-s0001"
QUEUE, END = f"queue {SLUG}", f"end {SLUG}"
KEY = {"number": 1, "attempt": 1}
SHORT = quota(0.0, refreshes_at=None)


@pytest.mark.parametrize(
    ("phase", "awaited"),
    [
        *(row(f"{phase} waits for a machine", phase, QUEUE) for phase in (Phase.PUSHED, Phase.QUEUED)),
        row("running waits for the end", Phase.RUNNING, END),
        *(
            row(f"{phase} waits for nothing on Kaggle", phase, "")
            for phase in Phase
            if phase not in (Phase.PUSHED, Phase.QUEUED, Phase.RUNNING)
        ),
    ],
)
def test_a_pushed_session_waits_for_a_machine_or_its_end(phase: Phase, awaited: str) -> None:
    assert waits.awaited_event(session(phase)) == awaited


@pytest.mark.parametrize(
    ("command", "awaiting", "facts", "read", "awaited"),
    [
        row("a poll shows a queue", Poll(1, 1), "", (), None, QUEUE),
        row("a declined push waits for a slot", Push(1, 1), "", (PushRefused(**KEY, reason="r"),), None, "slot"),
        row("so does one that was held", Push(1, 1), "", (PushHeld(**KEY, reason="r"),), None, "slot"),
        row("a push that succeeds ends it", Push(1, 1), "slot", (PushConfirmed(**KEY, kernel_version=1),), None, ""),
        row("too few hours and no time of renewal", ReadQuota("tpu"), "", (), SHORT, "hours"),
        row("a time of renewal ends that wait", ReadQuota("tpu"), "hours", (), quota(0.0), ""),
        row("enough hours end it", ReadQuota("tpu"), "hours", (), replace(SHORT, used_s=0.0), ""),
        row("an unknown quota ends it", ReadQuota("tpu"), "hours", (), None, ""),
        row("enough hours are no wait", ReadQuota("tpu"), "slot", (), quota(), None),
        row("another command changes no wait", Collect(1, 1), "hours", (), SHORT, None),
    ],
)
def test_a_command_shows_what_the_run_waits_for(
    command: Command, awaiting: str, facts: tuple[Fact, ...], read: QuotaRow | None, awaited: str | None
) -> None:
    snapshot = given(state(session(Phase.QUEUED)), watch=PollState(awaiting=awaiting))
    assert waits.awaited_after(command, snapshot, facts, read, 250.0, NOW) == awaited


@pytest.mark.parametrize(
    ("known", "is_short"),
    [
        row("a second too few", quota(249.0), True),
        row("just enough", quota(250.0), False),
        row("unknown", quota(total_s=None), False),
        row("used up", quota(-5.0), True),
    ],
)
def test_a_quota_is_short_below_the_shortest_session(known: QuotaRow, is_short: bool) -> None:
    assert waits.too_little_quota(known, 250.0) is is_short


OFTEN = Limits(poll_s=60.0, calm=2.0, slot_s=100.0)


@pytest.mark.parametrize(
    ("awaiting", "before", "limits", "waited_s"),
    [
        row("the time since the last poll counts", QUEUE, PollState(waited_s=5.0, waited_at=at(-30)), LIMITS, 35.0),
        row("at most two intervals of a queue", QUEUE, PollState(waited_s=5.0, waited_at=at(-YEAR)), LIMITS, 245.0),
        row("at most two calm intervals of a session", END, PollState(waited_at=at(-YEAR)), Limits(calm=10.0), 600.0),
        row("at most two tries for a slot", "slot", PollState(waited_at=at(-YEAR)), LIMITS, 600.0),
        row("at most two reads of the quota", "hours", PollState(waited_at=at(-YEAR)), LIMITS, 1800.0),
        row("the limits' own intervals", "slot", PollState(waited_at=at(-YEAR)), OFTEN, 200.0),
        row("four polls are a queue's interval", QUEUE, PollState(waited_at=at(-YEAR)), OFTEN, 480.0),
        row("time never counts backwards", QUEUE, PollState(waited_s=5.0, waited_at=at(30)), LIMITS, 5.0),
        row("nothing counts before the first poll", QUEUE, PollState(waited_s=5.0), LIMITS, 5.0),
    ],
)
def test_a_wait_counts_the_time_that_relay_was_there(
    awaiting: str, before: PollState, limits: Limits, waited_s: float
) -> None:
    watch = waits.with_poll_counted(replace(before, awaiting=awaiting), awaiting, limits, NOW)
    assert (watch.awaiting, watch.waited_s, watch.waited_at) == (awaiting, waited_s, NOW)


def test_another_wait_is_counted_anew() -> None:
    before = PollState(awaiting=QUEUE, waited_s=99.0, waited_at=at(-30), failures=3)
    assert waits.with_poll_counted(before, END, LIMITS, NOW) == PollState(
        awaiting=END, waited_s=0.0, waited_at=NOW, failures=3
    )


QUEUED, RUNNING = session(Phase.QUEUED), session(Phase.RUNNING)


@pytest.mark.parametrize(
    ("of", "awaiting", "waited_s", "late"),
    [
        row("a queue of six hours", QUEUED, QUEUE, 6 * HOUR, True),
        row("a second less", QUEUED, QUEUE, 6 * HOUR - 1, False),
        row("pushed and not seen for six hours", session(Phase.PUSHED), QUEUE, 6 * HOUR, True),
        row("an hour beyond the limit", RUNNING, END, 1000 + HOUR, True),
        row("a second less than an hour beyond it", RUNNING, END, 1000 + HOUR - 1, False),
        row("another session's wait", QUEUED, f"queue {RUN}-s0002", 9 * DAY, False),
        row("another kind of wait", RUNNING, QUEUE, 9 * DAY, False),
        row("a session that waits for nothing", session(Phase.ENDED), "", 9 * DAY, False),
    ],
)
def test_a_wait_for_a_session_has_an_end(of: Session, awaiting: str, waited_s: float, late: bool) -> None:
    assert waits.waited_too_long(PollState(awaiting=awaiting, waited_s=waited_s), of, LIMITS) is late


NO_MACHINE = RunParked(
    reason="session 1 has waited 7 h for a machine: look at https://www.kaggle.com/code/me/r-0001-s0001; "
    "relay continues by itself once it runs, and relay resume r-0001 --abandon-session gives it up after you deleted it "
    "there",
    remedy="relay resume r-0001",
    awaits="queue",
)
NO_SLOT = RunParked(
    reason="session 1 has waited 13 h for a slot, longer than any session may last (one batch session at a "
    "time): end what runs at https://www.kaggle.com/code/me; relay continues by itself once there is a slot",
    remedy="relay resume r-0001",
    awaits="slot",
)
DECLINED = session(Phase.PLANNED, reason="one batch session at a time")
PARKED = run(RunStatus.PARKED)


@pytest.mark.parametrize(
    ("known", "awaiting", "waited_s", "fact"),
    [
        row("no machine for hours", state(QUEUED), QUEUE, 7 * HOUR, NO_MACHINE),
        row("pushed and no machine", state(session(Phase.PUSHED)), QUEUE, 7 * HOUR, NO_MACHINE),
        row("no machine for a while", state(QUEUED), QUEUE, 5 * HOUR, None),
        row("it runs too long: the next poll ends it", state(RUNNING), END, 7 * HOUR, None),
        row("no slot for thirteen hours", state(DECLINED), "slot", 13 * HOUR, NO_SLOT),
        row("no slot for a second less", state(DECLINED), "slot", 13 * HOUR - 1, None),
        row("a plan that waits for hours", state(DECLINED), "hours", 13 * HOUR, None),
        row("a push under way has its slot", state(session(Phase.PUSHING)), "slot", 13 * HOUR, None),
        row("the user was told already", state(QUEUED, of=PARKED), QUEUE, 7 * HOUR, None),
        row("no session waits", state(), "slot", 13 * HOUR, None),
    ],
)
def test_only_a_wait_that_the_user_can_end_parks_the_run(
    known: RunState, awaiting: str, waited_s: float, fact: RunParked | None
) -> None:
    assert waits.park_for_wait(given(known, watch=PollState(awaiting=awaiting, waited_s=waited_s)), LIMITS) == fact


NO_HOURS = RunParked(
    reason="too few; Kaggle has named no time of renewal that is still to come for 6 h: look at "
    "https://www.kaggle.com/settings and at this machine's clock; relay continues by itself once there are hours again",
    remedy="relay resume r-0001",
    awaits="hours",
)


@pytest.mark.parametrize(
    ("known", "awaiting", "waited_s", "fact"),
    [
        row("six hours without a time of renewal", state(), "hours", 6 * HOUR, NO_HOURS),
        row("a second less", state(), "hours", 6 * HOUR - 1, None),
        row("another wait", state(), "slot", 6 * HOUR, None),
        row("the user was told already", state(of=PARKED), "hours", 6 * HOUR, None),
    ],
)
def test_a_quota_that_is_not_renewed_parks_the_run(
    known: RunState, awaiting: str, waited_s: float, fact: RunParked | None
) -> None:
    snapshot = given(known, watch=PollState(awaiting=awaiting, waited_s=waited_s))
    assert waits.park_for_quota(snapshot, LIMITS, "too few") == fact


@pytest.mark.parametrize(
    ("awaits", "phase", "came"),
    [
        row("no machine yet", "queue", Phase.QUEUED, False),
        row("pushed, no machine yet", "queue", Phase.PUSHED, False),
        row("it runs", "queue", Phase.RUNNING, True),
        row("the user deleted its kernel", "queue", Phase.LOST, True),
        row("no session waits for a machine", "queue", None, True),
        row("no slot yet", "slot", Phase.PLANNED, False),
        row("a push under way", "slot", Phase.PUSHING, False),
        row("a slot", "slot", Phase.PUSHED, True),
        row("no session waits for a slot", "slot", None, True),
        row("hours are read by another command", "hours", Phase.PLANNED, False),
        row("the user is awaited", "", Phase.RUNNING, False),
    ],
)
def test_a_parked_run_goes_on_when_it_came_after_all(awaits: str, phase: Phase | None, came: bool) -> None:
    sessions = () if phase is None else (session(phase),)
    assert waits.wait_is_over(state(*sessions, of=run(RunStatus.PARKED, awaits=awaits))) is came
