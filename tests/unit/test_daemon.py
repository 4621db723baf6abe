"""The daemon's loop on a clock that tests set: jumps are noticed, leases are kept, and stopping is heeded between ticks."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.base.clock import Stop, SystemClock, VirtualClock
from orchestrator.base.errors import BadInput
from orchestrator.base.process_id import is_alive, process_id
from orchestrator.core.commands import Poll, Wait
from orchestrator.core.plan import Limits
from orchestrator.engine.daemon import Daemon, LeaseKeeper
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.tick import TickResult
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder
from state.facts.run import RunCancelled
from state.facts.session import SessionLost
from state.leases import LeaseHeld, LeaseLost
from state.model.poll_state import PollState
from state.model.run_state import RunState
from state.model.statuses import RunStatus
from state.store import Store
from tests.simulation.pipelines import pipeline


class SetClock(VirtualClock):
    """A clock that can be set; `monotonic` goes on as time does."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s = 0.0

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.slept_s += seconds

    def set_by(self, by: timedelta) -> None:
        self._now += by

    def monotonic(self) -> float:
        return self.slept_s


class Desk:
    """A simulated chain with a daemon; `rounds` says what happens before each sleep."""

    def __init__(self, folder: Path) -> None:
        self.kaggle = SimulatedKaggle(pipeline())
        self.kaggle.clock = self.clock = SetClock()
        self.kaggle.world.clock = self.clock
        self.chain = Chain(self.kaggle, folder)
        self.said: list[str] = []
        self.ticks: list[TickResult] = []
        self.stop = Stop()
        self.betweens: list[datetime] = []

    def shell(self, _state: RunState) -> EffectContext:
        return EffectContext(
            DirectGateway(self.kaggle.world), HomeLayout(self.chain.home.path), self.clock, Limits(poll_s=120.0)
        )

    def listen(self, _run: str, tick: TickResult) -> None:
        self.ticks.append(tick)

    def daemon(self, keeper: LeaseKeeper) -> Daemon:
        return Daemon(
            self.chain.store,
            self.shell,
            self.clock,
            keeper,
            self.listen,
            self.said.append,
            self.clock.monotonic,
            self.stop,
            between=lambda: self.betweens.append(self.clock.now()),
        )

    def run(self, *events: object) -> None:
        """Rounds of the daemon; the n-th event is called after the n-th round, and after the last one it is over."""
        left = list(events)

        def done() -> bool:
            if left:
                left.pop(0)()  # type: ignore[operator]
            return not left

        with LeaseKeeper(self.chain.store, self.clock) as keeper:
            self.daemon(keeper).run(done)


@pytest.fixture
def desk() -> Iterator[Desk]:
    with fast_folder() as folder:
        yield Desk(folder)


def idle() -> None:
    """Nothing happens."""


@pytest.mark.parametrize(
    ("by", "says"),
    [
        (timedelta(days=2, hours=3), "the clock jumped forward by 2 d 3 h: asleep?"),
        (timedelta(minutes=-90), "the clock was set back by 1 h 30 min"),
    ],
)
def test_a_jump_of_the_clock_is_said_once_and_the_lease_is_renewed_at_once(
    desk: Desk, by: timedelta, says: str
) -> None:
    ahead_s: list[float] = []
    desk.run(
        idle,
        lambda: desk.clock.set_by(by),
        lambda: ahead_s.append(_left_s(desk.chain.store, desk.clock.now())),
        idle,
    )
    assert desk.said == [says]
    assert 50 < ahead_s[0] <= 60


def test_a_clock_that_merely_runs_is_no_jump(desk: Desk) -> None:
    desk.run(idle, lambda: desk.clock.sleep(7200.0), idle, lambda: desk.clock.set_by(timedelta(seconds=59)), idle, idle)
    assert desk.said == []
    assert len(desk.betweens) == 6, "what is done between rounds is done after every round"


def test_after_a_jump_the_times_of_looks_are_forgotten_and_failures_are_not(desk: Desk) -> None:
    future = desk.clock.now() + timedelta(days=400)
    store, run = desk.chain.store, desk.chain.run

    def put_back() -> None:
        noted = PollState(
            polled_at=future, not_before=future, failing_since=future, failures=3, failure="busy", log_lines=5
        )
        store.append(run, [], desk.clock.now(), watch=noted)
        desk.clock.set_by(timedelta(days=-400))

    desk.run(put_back, idle)
    found = store.watch(run)
    assert found.not_before is None or found.not_before < future
    assert found.polled_at != future
    assert desk.ticks[-1].command != Wait(future, "trying again: busy")


def test_forgetting_looks_keeps_what_was_counted(desk: Desk) -> None:
    now, store, run = desk.clock.now(), desk.chain.store, desk.chain.run
    lease = store.take_lease("me", now, 60)
    noted = PollState(polled_at=now, dataset_polled_at=now, failures=3, failing_since=now, failure="x", not_before=now)
    store.append(run, [], now, watch=noted)
    store.clear_poll_times(lease.fence)
    assert store.watch(run) == PollState(failures=3, failure="x")
    store.take_lease("other", now + timedelta(seconds=61), 60)
    with pytest.raises(LeaseLost):
        store.clear_poll_times(lease.fence)


def test_told_to_stop_the_daemon_does_not_begin_another_tick(desk: Desk) -> None:
    def listen(run: str, tick: TickResult) -> None:
        desk.ticks.append(tick)
        desk.stop.set()

    desk.listen = listen  # type: ignore[method-assign]
    desk.run(idle, idle, idle)
    assert len(desk.ticks) == 1


def test_a_run_that_rests_is_left_alone_until_its_time_has_come(desk: Desk) -> None:
    ticks: list[int] = []
    desk.run(
        *[lambda: ticks.append(len(desk.ticks))] * 40
    )  # two seconds each, and the first look after the push is due later
    rests = [tick.command.until for tick in desk.ticks if isinstance(tick.command, Wait)]
    assert ticks[2] == ticks[-1], "a round ticked a run that rests"
    until = rests[-1]
    assert until is not None
    desk.run(lambda: desk.clock.sleep((until - desk.clock.now()).total_seconds()), idle)
    assert isinstance(desk.ticks[-2].command, Poll)


def test_a_request_wakes_a_run_that_rests_at_once(desk: Desk) -> None:
    store, run = desk.chain.store, desk.chain.run
    desk.run(idle, idle, idle, lambda: store.request(run, "pause", {}, desk.clock.now()), idle)
    assert store.load(run).run.status is RunStatus.PARKED
    ticks = len(desk.ticks)
    desk.run(idle, *[idle] * 10)
    assert len(desk.ticks) <= ticks + 2, "a parked run is ticked again and again"


def test_a_run_that_waits_for_a_slot_is_woken_as_soon_as_another_has_done_something(desk: Desk) -> None:
    first, store = desk.chain, desk.chain.store
    second = Chain(desk.kaggle, first.home.path, run="sim-0002", store=store)
    desk.run(idle, idle, idle)
    waits = [tick.command for tick in desk.ticks if isinstance(tick.command, Wait) and tick.command.wants_slot]
    assert waits
    assert second.state.sessions == ()
    lost = SessionLost(number=1, attempt=1, reason="a person cancelled it")
    desk.run(
        idle,
        lambda: store.append(first.run, [lost, RunCancelled()], desk.clock.now()),
        idle,
        idle,
        idle,
    )
    assert waits[-1].until is not None
    assert desk.clock.now() < waits[-1].until
    assert second.state.sessions != ()


@pytest.mark.slow
def test_a_daemon_that_lost_its_lease_stops_even_where_there_is_nothing_to_do(tmp_path: Path) -> None:
    clock = SystemClock()
    store = Store.at(tmp_path)
    with LeaseKeeper(store, clock, lasts_s=0.2) as keeper:
        daemon = Daemon(store, _nobody, clock, keeper, lambda *_: None, lambda _: None, time.monotonic)
        store.take_lease("another", clock.now() + timedelta(hours=1), 60)
        with pytest.raises(LeaseLost):
            daemon.run(_at_most(20))


def _at_most(rounds: int) -> Callable[[], bool]:
    """Over after so many rounds."""
    left = iter(range(rounds))
    return lambda: next(left, None) is None


def _nobody(_state: RunState) -> EffectContext:
    raise AssertionError("there is no run")


def test_a_second_daemon_is_refused_in_one_sentence(tmp_path: Path) -> None:
    store, clock = Store.at(tmp_path), VirtualClock()
    with LeaseKeeper(store, clock), pytest.raises(BadInput, match=r"another daemon .* stop that one first, or name"):
        _refused(store, clock)


def _refused(store: Store, clock: VirtualClock) -> None:
    lease = store.lease()
    assert lease is not None
    store.take_lease("elsewhere/1/1", clock.now() + timedelta(seconds=61), 60)
    with LeaseKeeper(store, clock):
        pass


@pytest.mark.slow
def test_the_lease_is_kept_though_the_database_was_locked_for_long(tmp_path: Path) -> None:
    clock, store = SystemClock(), Store.at(tmp_path)
    with LeaseKeeper(store, clock, lasts_s=1.0) as keeper:
        rival = sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
        rival.execute("BEGIN IMMEDIATE")
        time.sleep(11.5)  # longer than SQLite waits
        rival.execute("ROLLBACK")
        rival.close()
        until = time.monotonic() + 30
        while _left_s(store, clock.now()) <= 0:
            assert time.monotonic() < until, "the lease is kept no longer"
            time.sleep(0.05)
        assert keeper.fence == 1


def _left_s(store: Store, now: datetime) -> float:
    lease = store.lease()
    assert lease is not None
    return (lease.expires_at - now).total_seconds()


YEARS = timedelta(days=900)


@pytest.mark.parametrize("runs", [False, None], ids=["dead", "of another name of this machine"])
def test_a_lease_far_in_the_future_locks_nobody_out(tmp_path: Path, runs: bool | None) -> None:
    store, now = Store.at(tmp_path), VirtualClock().now()
    store.take_lease("a", now + YEARS, 60)
    assert store.take_lease("b", now, 60, alive=lambda _holder: runs).fence == 2


def test_a_daemon_that_runs_keeps_its_lease_however_wrong_the_clock_was(tmp_path: Path) -> None:
    store, now = Store.at(tmp_path), VirtualClock().now()
    store.take_lease("a", now + YEARS, 60)
    with pytest.raises(LeaseHeld):
        store.take_lease("b", now, 60, alive=lambda _holder: True)


def test_a_process_is_told_from_another_that_had_its_number() -> None:
    me = process_id()
    assert is_alive(me) is True
    assert is_alive(me.rpartition("/")[0] + "/1") is False
    assert is_alive("elsewhere/1/1") is None


def test_a_sleep_is_ended_by_a_wake_that_came_before_or_during_it() -> None:
    clock = SystemClock()
    clock.wake()
    clock.sleep(3600.0)
    threading.Timer(0.05, clock.wake).start()
    clock.sleep(3600.0)


def test_whoever_asks_to_be_told_after_the_stop_is_told_at_once() -> None:
    stop, told = Stop(), []
    stop.set()
    stop.tell(lambda: told.append("woken"))
    assert told == ["woken"]
