"""The daemon's loop over every open run: one daemon per database, holding a lease that a background thread renews."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from orchestrator.base.clock import Clock, Stop
from orchestrator.base.errors import BadInput, RelayError
from orchestrator.base.humanize import duration
from orchestrator.base.process_id import is_alive, process_id
from orchestrator.core.commands import Wait
from orchestrator.engine import failsafe
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.tick import TickResult, tick
from state.facts.run import PipelineChanged, PipelineKept
from state.failures import RunDamaged, StoreCorrupt, StoreUnavailable
from state.leases import Lease, LeaseHeld, LeaseLost
from state.model.run_state import RunState
from state.run_queue import ChangeToken
from state.store import Store

LEASE_S = 60.0
IDLE_S = 2.0
"""Seconds until an idle daemon sees a new request."""

JUMP_S = 60.0
"""Seconds by which wall clock and monotonic clock must differ to count as a clock jump: set, or slept."""

REFUSED_S = 60.0
"""Seconds before relay retries a run that it could not serve, for example for wrong credentials."""

Listener = Callable[[str, TickResult], None]


class LeaseKeeper:
    """Holds the lease on a database for as long as the `with` block runs."""

    def __init__(self, store: Store, clock: Clock, lasts_s: float = LEASE_S) -> None:
        self._store, self._clock, self._lasts_s = store, clock, lasts_s
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._lease: Lease | None = None
        self._broken: StoreCorrupt | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._lease = self._store.take_lease(process_id(), self._clock.now(), self._lasts_s, is_alive)
        except LeaseHeld as error:
            raise BadInput(f"{error}: stop that one first, or name another folder with --home") from error
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._lease is not None and not self._lost.is_set():
            with contextlib.suppress(StoreUnavailable, StoreCorrupt):  # then the lease expires by itself
                self._store.release_lease(self._lease, self._clock.now())

    @property
    def fence(self) -> int:
        """Fencing token of the lease.

        Raises LeaseLost once another daemon holds it, StoreCorrupt without a usable database.
        """
        if self._broken is not None:
            raise self._broken
        if self._lost.is_set():
            raise LeaseLost("another daemon took this database over")
        return self._held.fence

    def renew(self) -> None:
        """Renew the lease from now on; raises LeaseLost if another daemon holds it."""
        self._lease = self._store.keep_lease(self._held, self._clock.now(), self._lasts_s)

    @property
    def _held(self) -> Lease:
        assert self._lease is not None, "the lease was not taken"
        return self._lease

    def _keep(self) -> None:
        while not self._stop.wait(self._lasts_s / 4):
            try:
                # No other daemon can take a lease from a database that cannot be written: there is time to retry.
                with contextlib.suppress(StoreUnavailable):
                    self.renew()
            except LeaseLost:
                self._lost.set()
                return
            except StoreCorrupt as error:  # the daemon's own thread reports this and ends
                self._broken = error
                return


class ClockJumpDetector:
    """Detects that the wall clock ran faster or slower than time passed: the machine slept, or the clock was set."""

    def __init__(self, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._clock, self._monotonic = clock, monotonic
        self.settle()

    def settle(self) -> None:
        """Start measuring from now."""
        self._now, self._monotonic_s = self._clock.now(), self._monotonic()

    def jump_s(self) -> float:
        """Return the seconds by which the clock is ahead of the expected time; negative if it was set back."""
        passed_s = (self._clock.now() - self._now).total_seconds()
        return passed_s - (self._monotonic() - self._monotonic_s)


@dataclass(frozen=True)
class Sleep:
    """A run's rest: until a time (None: until new data or a request), and the run's change token when it began."""

    until: datetime | None
    mark: ChangeToken
    wants_slot: bool = False

    def over(self, now: datetime) -> bool:
        """Return True if the rest is over."""
        return self.until is not None and now >= self.until


@dataclass(frozen=True)
class Daemon:
    """Ticks every open run of one database as far as it goes."""

    store: Store
    shell_for: Callable[[RunState], EffectContext]
    clock: Clock
    keeper: LeaseKeeper
    listener: Listener
    notice: Callable[[str], None]
    """Callback for a sentence that concerns all runs: the clock, the database."""
    monotonic: Callable[[], float]
    """Clock in seconds that changes of the system time do not affect."""
    stop: Stop = field(default_factory=Stop)
    sleeping: dict[str, Sleep] = field(default_factory=dict)
    """Rests of the runs that wait for something, by run."""
    between: Callable[[], None] = lambda: None
    """Called after every round."""

    def round(self) -> datetime | None:
        """Tick each open run that does not rest; return when the first of them must be woken (None: none of them).

        A resting run costs nothing until its time comes, its data change or the user makes a request. A run that waits
        for a slot is woken by any change to any run, since that may have freed one.
        """
        _ = self.keeper.fence  # a daemon that lost its lease ends even if there is nothing to do
        news = self.store.change_tokens()
        gone = self.sleeping.keys() - news.keys()
        changed = bool(gone)
        for run, mark in news.items():
            rest = self.sleeping.get(run)
            if rest is None or rest.mark != mark or rest.over(self.clock.now()):
                acted = self._tick_until_rest(run, mark)
                changed |= acted or (rest is not None and rest.mark != mark)
        for run in [run for run, rest in self.sleeping.items() if run in gone or (changed and rest.wants_slot)]:
            del self.sleeping[run]
        return min((rest.until for rest in self.sleeping.values() if rest.until is not None), default=None)

    def run(self, done: Callable[[], bool] = lambda: False) -> None:
        """Run until asked to stop (the current tick is finished) or until `done` returns True.

        Waits for a database that cannot be used; the reason, such as a lock or a full disk, is reported once.
        """
        jumps, problem = ClockJumpDetector(self.clock, self.monotonic), ""
        while not self.stop.is_set():
            before, wake = problem, None
            try:
                self._handle_clock_jump(jumps)
                wake, problem = self.round(), ""
                self.between()
                if done():
                    return
            except StoreUnavailable as error:
                problem = str(error)
            self._report_change(before, problem)
            now = self.clock.now()
            rest_s = IDLE_S if wake is None else min(IDLE_S, (wake - now) / timedelta(seconds=1))
            if not self.stop.is_set():
                self.clock.sleep(max(0.02, rest_s))

    def _report_change(self, before: str, problem: str) -> None:
        if problem and problem != before:
            self.notice(f"{problem} (the daemon keeps retrying)")
        elif before and not problem:
            self.notice("the database can be used again")

    def _handle_clock_jump(self, jumps: ClockJumpDetector) -> None:
        """After a clock jump, forget poll times recorded by the old clock, and renew the lease before it expires."""
        jump_s = jumps.jump_s()
        if abs(jump_s) >= JUMP_S:
            size = duration(abs(jump_s))
            self.notice(
                f"the clock jumped forward by {size}: asleep?" if jump_s > 0 else f"the clock was set back by {size}"
            )
            self.keeper.renew()
            self.store.clear_poll_times(self.keeper.fence)
            self.sleeping.clear()
        jumps.settle()

    def _tick_until_rest(self, run: str, mark: ChangeToken) -> bool:
        """Tick the run until it rests, or may go on on another platform; return True if it did anything."""
        self.sleeping.pop(run, None)
        try:
            shell = self.shell_for(self.store.load(run))
        except RunDamaged as error:
            return self._skip_for_now(run, mark, str(error))
        except failsafe.CONCERNS_ALL:
            raise
        except RelayError as error:  # one run that cannot be served must not stop the others
            return self._skip_for_now(run, mark, str(error))
        except Exception as error:  # noqa: BLE001  nor may a bug in relay
            return self._give_up(run, mark, error)
        changed = moves = False
        while not (self.stop.is_set() or moves):
            try:
                result = tick(self.store, run, shell, self.keeper.fence)
            except RunDamaged as error:
                return self._skip_for_now(run, mark, str(error))
            except failsafe.CONCERNS_ALL:
                raise
            except Exception as error:  # noqa: BLE001  likewise
                return self._give_up(run, mark, error)
            self.listener(run, result)
            if isinstance(result.command, Wait):
                self.sleeping[run] = Sleep(result.command.until, mark, result.command.wants_slot)
                break
            changed = True
            moves = any(isinstance(fact, PipelineChanged | PipelineKept) for fact in result.facts)
        return changed

    def _give_up(self, run: str, mark: ChangeToken, error: Exception) -> bool:
        """Park the run because of a bug in relay; if even that fails, leave the run alone for a while."""
        result = failsafe.parked(self.store, run, error, self.clock.now(), self.keeper.fence)
        if result is None:
            return self._skip_for_now(run, mark, failsafe.sentence(error))
        self.listener(run, result)
        return True

    def _skip_for_now(self, run: str, mark: ChangeToken, why: str) -> bool:
        """Report why a run is skipped, and retry it later, when the user may have fixed it. Returns False."""
        again = self.clock.now() + timedelta(seconds=REFUSED_S)
        self.sleeping[run] = Sleep(again, mark)
        self.listener(run, TickResult(Wait(again, why), failure=why))
        return False
