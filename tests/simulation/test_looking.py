"""What watching a session of nine hours costs in calls to Kaggle, and how soon its end is noticed all the same."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.base.clock import VirtualClock
from orchestrator.core.plan import limits_for
from orchestrator.pipeline.loader import parse
from orchestrator.rehearsal.local_kaggle.fault_injection import FaultInjector
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, CallFault
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder
from orchestrator.rehearsal.simulation.sessions import died
from stages.contract import Order
from state.model.statuses import Outcome, RunStatus

PIPELINE = parse("{name: long, accelerator: TpuV5E8, stages: [{name: one, kind: counting, steps: 700}]}", "long.yaml")
CALLS_AN_HOUR_MAX = 30


class Counted(FaultInjector):
    """Remembers when each call was made; the local Kaggle asks it about every one, by whatever way it comes."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(NO_FAULTS)
        self.clock = clock
        self.calls: list[tuple[datetime, str]] = []

    def call(self, name: str) -> CallFault | None:
        self.calls.append((self.clock.now(), name))
        return super().call(name)


class Watched:
    """A chain of two sessions with the patience of real ones, driven to its end."""

    def __init__(self, folder: Path, play: Callable[[Order, Played, int], Played] = lambda _order, played, _n: played):
        kaggle = SimulatedKaggle(
            PIPELINE, play=self._keeping(play), rules=Rules(queue_s=PerKind.all(900.0)), step_s=60.0
        )
        self.played: list[Played] = []
        self.counted = kaggle.world.fault_injector = Counted(kaggle.clock)
        self.chain = Chain(kaggle, folder)
        self.chain.limits = limits_for(PIPELINE)
        self.state = self.chain.drive()

    def _keeping(self, play: Callable[[Order, Played, int], Played]) -> Callable[[Order, Played, int], Played]:
        def kept(order: Order, played: Played, index: int) -> Played:
            self.played.append(play(order, played, index))
            return self.played[-1]

        return kept

    def begun_at(self, index: int) -> datetime:
        """When the session really began, by Kaggle's clock."""
        session = self.chain.kaggle.world.kernels.session("me", self.state.sessions[index].slug, "")
        assert session is not None
        assert session.started is not None
        return session.started

    def noticed_s(self, index: int) -> float:
        """Seconds from the session's end to the look that saw it."""
        ended_at = self.begun_at(index) + timedelta(seconds=self.played[index].ends_after_s)
        noticed_at = self.state.sessions[index].ended_at
        assert noticed_at is not None
        return (noticed_at - ended_at).total_seconds()


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


@pytest.mark.slow
def test_a_session_in_the_middle_of_its_hours_costs_at_most_thirty_calls_an_hour(folder: Path) -> None:
    watched = Watched(folder)
    began = watched.begun_at(0)
    by_hour = Counter(int((at - began).total_seconds() // 3600) for at, _ in watched.counted.calls if at >= began)
    assert all(by_hour[hour] <= CALLS_AN_HOUR_MAX for hour in range(1, 8)), by_hour
    assert all(by_hour[hour] >= 20 for hour in range(1, 8)), "nobody looks"
    assert sum(by_hour[hour] for hour in range(9)) <= 9 * 40, "its first and last hour are dear"


@pytest.mark.slow
def test_a_queued_session_costs_at_most_thirty_calls_an_hour_after_the_first_minutes(folder: Path) -> None:
    watched = Watched(folder)
    pushed_at, began = watched.state.sessions[0].pushed_at, watched.begun_at(0)
    assert pushed_at is not None
    looks = [at for at, name in watched.counted.calls if pushed_at + timedelta(minutes=5) <= at < began]
    assert len(looks) <= 6  # in ten minutes


@pytest.mark.slow
def test_the_usual_end_of_a_session_is_noticed_within_a_minute_or_so(folder: Path) -> None:
    watched = Watched(folder)
    assert [session.outcome for session in watched.state.sessions] == [Outcome.YIELDED, Outcome.FINISHED]
    for index in range(2):  # one that stopped itself in time, and one that had nothing more to do
        assert 0 <= watched.noticed_s(index) <= 90


@pytest.mark.slow
def test_a_session_that_dies_at_any_time_is_noticed_within_five_minutes(folder: Path) -> None:
    died_s = 13_333.0
    watched = Watched(folder, lambda _order, played, index: died(played, died_s) if index == 1 else played)
    assert watched.state.sessions[0].outcome is Outcome.FAILED
    assert 0 <= watched.noticed_s(0) <= 300


@pytest.mark.slow
def test_the_log_on_this_disk_is_whole_once_a_session_is_over_however_rarely_it_was_looked_at(folder: Path) -> None:
    watched = Watched(folder)
    assert watched.state.run.status is RunStatus.FINISHED
    for session, played in zip(watched.state.sessions, watched.played, strict=True):
        kept = watched.chain.home.log(session).read_text(encoding="utf-8").splitlines()
        assert len(kept) == len(played.lines) > 50
        assert kept[-1] == played.lines[-1][1]
