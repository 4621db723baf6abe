"""What the daemon says: each thing once, when it begins and when it is over, and nothing while nothing happens."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from orchestrator.base.clock import VirtualClock
from orchestrator.core.commands import Append, Poll, ReadQuota, Wait
from orchestrator.engine.tick import TickResult
from orchestrator.views.news_filter import Narration, Narrator, narrate_fact
from state.facts.run import RunParked, RunResumed, RunWaiting
from state.facts.session import Judgement, NothingCollected, SeenRunning, SessionLost
from state.model.poll_state import PollState
from state.model.snapshot import QuotaRow, Request

LOOK = Poll(number=1, attempt=1)


class Desk:
    """A narrator that hears one run's ticks, on a clock that tests move."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.narrator = Narrator(self.clock.now)

    def hear(self, tick: TickResult) -> list[str]:
        return [line.message for line in self.lines(tick) if line.level != "debug"]

    def lines(self, tick: TickResult) -> list[Narration]:
        return self.narrator.hear("gsm-1", tick)

    def failed(self, failure: str, before: PollState = PollState()) -> TickResult:  # noqa: B008
        now = self.clock.now()
        since = before.failing_since or now
        again = now + timedelta(minutes=5)
        after = PollState(failures=before.failures + 1, failing_since=since, failure=failure, not_before=again)
        return TickResult(LOOK, failure=failure, before=before, after=after)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_failure_that_goes_on_is_told_once_with_when_it_is_tried_again(desk: Desk) -> None:
    first = desk.failed("Kaggle does not answer (waited 41 s)")
    assert desk.hear(first) == ["Kaggle does not answer (waited 41 s), trying again at 2030-01-07 00:05 UTC"]
    assert (
        desk.hear(
            TickResult(
                Wait(desk.clock.now(), "trying again: Kaggle does not answer"), before=first.after or PollState()
            )
        )
        == []
    )
    assert first.after is not None
    assert desk.hear(desk.failed("Kaggle does not answer (waited 39 s)", first.after)) == []
    assert desk.hear(desk.failed("Kaggle answered 502", first.after))[0].startswith("Kaggle answered 502, trying")


def test_a_recovery_says_how_long_it_took_even_to_a_daemon_that_began_in_between(desk: Desk) -> None:
    tick = desk.failed("Kaggle does not answer")
    desk.hear(tick)
    assert tick.after is not None
    desk.clock.sleep(12 * 60.0)
    well = TickResult(LOOK, before=tick.after)
    assert desk.hear(well) == ["Kaggle answers again after 12 min"]
    assert desk.hear(replace(well, before=PollState())) == []
    assert [line.message for line in Narrator(desk.clock.now).hear("gsm-1", well)] == [
        "Kaggle answers again after 12 min"
    ]


def test_nothing_is_recovered_by_resting_or_by_what_is_only_written_down(desk: Desk) -> None:
    tick = desk.failed("Kaggle does not answer")
    desk.hear(tick)
    assert tick.after is not None
    assert desk.hear(TickResult(Wait(None, "paused"), before=tick.after)) == []
    assert desk.hear(TickResult(Append(()), before=tick.after)) == []


def test_credentials_that_fit_again_are_told(desk: Desk) -> None:
    until = desk.clock.now() + timedelta(seconds=60)
    refused = TickResult(Wait(until, "another account's"), failure="run gsm-1 belongs to another account")
    assert len(desk.hear(refused)) == 1
    assert desk.hear(refused) == []
    desk.clock.sleep(43.0)
    assert desk.hear(TickResult(Wait(until, "session 1 is running"))) == ["it works again after 43 s"]


def test_a_run_that_is_parked_for_a_failure_says_so_once(desk: Desk) -> None:
    parked = RunParked(reason="Kaggle has a kernel that is not ours", remedy="relay retry gsm-1")
    tick = TickResult(LOOK, (parked,), "Kaggle has a kernel that is not ours")
    assert desk.hear(tick) == ["parked: Kaggle has a kernel that is not ours; type: relay retry gsm-1"]
    assert desk.hear(TickResult(Wait(None, "Kaggle has a kernel that is not ours"))) == []


def test_a_rest_is_told_with_until_when_once_for_each_reason(desk: Desk) -> None:
    def rest(minutes: float, why: str) -> TickResult:
        return TickResult(Wait(desk.clock.now() + timedelta(minutes=minutes), why))

    assert desk.hear(rest(2, "trying again after: no TPU")) == [
        "idle until 2030-01-07 00:02 UTC: trying again after: no TPU"
    ]
    assert desk.hear(rest(3, "trying again after: no TPU")) == []
    assert desk.hear(rest(0.5, "session 2 is running")) == []
    assert desk.hear(TickResult(Wait(None, "paused by you"))) == ["idle until you request something: paused by you"]


def test_a_wait_for_quota_is_told_once(desk: Desk) -> None:
    until = desk.clock.now() + timedelta(days=3)
    waiting = RunWaiting(until=until.isoformat(), reason="0 s are left")
    assert desk.hear(TickResult(Append((waiting,)), (waiting,))) == ["waiting until 2030-01-10 00:00 UTC: 0 s are left"]
    assert desk.hear(TickResult(Wait(until, "0 s are left"))) == []


def test_a_run_that_waits_for_a_slot_is_told_however_short_the_rest_is(desk: Desk) -> None:
    rest = Wait(desk.clock.now() + timedelta(seconds=1), "other runs' sessions take the account's slots", True)
    assert len(desk.hear(TickResult(rest))) == 1


def test_the_quota_is_told_when_it_was_read_and_is_another(desk: Desk) -> None:
    quota = QuotaRow(
        owner="me", accelerator="tpu", used_s=3600.0, reserved_s=0.0, total_s=72000.0, refreshes_at=None,
        read_at=desk.clock.now(),
    )  # fmt: skip
    tick = TickResult(ReadQuota("tpu"), quota=quota)
    assert desk.hear(tick) == ["tpu quota: 19 h of 20 h left"]
    assert desk.hear(tick) == []
    assert desk.hear(replace(tick, quota=replace(quota, used_s=7200.0))) == ["tpu quota: 18 h of 20 h left"]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ((RunResumed(),), ["you asked to retry", "resumed"]),
        ((), ["you asked to retry: there is nothing to do for that now"]),
    ],
)
def test_a_request_that_was_obeyed_is_told(desk: Desk, facts: tuple[RunResumed, ...], says: list[str]) -> None:
    request = Request(id=1, run="gsm-1", verb="retry", made_at=desk.clock.now())
    assert desk.hear(TickResult(Append(facts, 1), facts, request=request)) == says


def test_every_look_is_told_to_who_wants_to_see_it_and_to_nobody_else(desk: Desk) -> None:
    (line,) = desk.lines(TickResult(LOOK))
    assert (line.level, line.message, line.session) == ("debug", "poll session 1", 1)


def test_a_line_has_the_facts_name_and_no_token_or_log(desk: Desk) -> None:
    failed = NothingCollected(
        number=2, attempt=1, judgement=Judgement(outcome="failed", reason="no TPU", excerpt="a log")
    )
    line = narrate_fact("gsm-1", failed)
    assert line is not None
    assert (line.event, line.run, line.session, line.level) == ("nothing_collected", "gsm-1", 2, "warning")
    assert line.data["judgement"]["reason"] == "no TPU"
    assert "excerpt" not in line.data["judgement"]
    seen = narrate_fact("gsm-1", SeenRunning(number=1, attempt=1))
    assert seen is not None
    assert seen.level == "info"


def test_a_text_without_end_is_cut(desk: Desk) -> None:
    line = narrate_fact("gsm-1", SessionLost(number=1, attempt=1, reason="x" * 10**6))
    assert line is not None
    assert len(line.message) < 5000
    assert len(line.data["reason"]) < 5000


def test_times_are_of_the_clock_that_was_handed_over(desk: Desk) -> None:
    assert desk.clock.now() == datetime.fromisoformat("2030-01-07T00:00:00+00:00")
    assert "2030-01-07" in desk.hear(desk.failed("x"))[0]
