"""Tick every open run for ever: one daemon a database, held by a lease that a background thread keeps."""

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
from orchestrator.engine.tick import Turn, tick
from state.failures import RunDamaged, StoreCorrupt, StoreUnavailable
from state.leases import Lease, LeaseHeld, LeaseLost
from state.model import RunState
from state.run_queue import ChangeToken
from state.store import Store

LEASE_S = 60.0
IDLE_S = 2.0
"""How soon a request made while the daemon rests is seen."""

JUMP_S = 60.0
"""A clock that went so much further or less far than time did was set, or the machine slept."""

REFUSED_S = 60.0
"""Before a run that the credentials do not fit is tried again."""

Listener = Callable[[str, Turn], None]


class LeaseKeeper:
    """Holds the right to act on a database for as long as the `with` block runs."""

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
            with contextlib.suppress(StoreUnavailable, StoreCorrupt):  # then it runs out by itself
                self._store.release_lease(self._lease, self._clock.now())

    @property
    def fence(self) -> int:
        """The lease's number; raises LeaseLost once another daemon has taken over, and StoreCorrupt without a database."""
        if self._broken is not None:
            raise self._broken
        if self._lost.is_set():
            raise LeaseLost("another daemon took this database over")
        return self._held.fence

    def renew(self) -> None:
        """Make the lease last from now on; raises LeaseLost where another daemon has it."""
        self._lease = self._store.keep_lease(self._held, self._clock.now(), self._lasts_s)

    @property
    def _held(self) -> Lease:
        assert self._lease is not None, "the lease was not taken"
        return self._lease

    def _keep(self) -> None:
        while not self._stop.wait(self._lasts_s / 4):
            try:
                # Nobody else can take a lease from a database that cannot be written: there is time to try again.
                with contextlib.suppress(StoreUnavailable):
                    self.renew()
            except LeaseLost:
                self._lost.set()
                return
            except StoreCorrupt as error:  # the daemon's own thread says so, and ends
                self._broken = error
                return


class ClockJumpDetector:
    """Notices that the clock went further or less far than time did: the machine slept, or somebody set the clock."""

    def __init__(self, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._clock, self._monotonic = clock, monotonic
        self.settle()

    def settle(self) -> None:
        """Count from now."""
        self._now, self._monotonic_s = self._clock.now(), self._monotonic()

    def jump_s(self) -> float:
        """Seconds by which the clock is ahead of what it would show by now; below 0 where it went back."""
        passed_s = (self._clock.now() - self._now).total_seconds()
        return passed_s - (self._monotonic() - self._monotonic_s)


@dataclass(frozen=True)
class Sleep:
    """Until when a run rests (None: not before somebody writes or asks something of it), and its mark when it lay down."""

    until: datetime | None
    mark: ChangeToken
    wants_slot: bool = False

    def over(self, now: datetime) -> bool:
        """Whether its time has come."""
        return self.until is not None and now >= self.until


@dataclass(frozen=True)
class Daemon:
    """Carries every open run of one database as far as it goes."""

    store: Store
    shell_for: Callable[[RunState], EffectContext]
    clock: Clock
    keeper: LeaseKeeper
    listener: Listener
    notice: Callable[[str], None]
    """Told in a sentence what concerns no run alone: the clock, the database."""
    monotonic: Callable[[], float]
    """Seconds that no setting of the clock changes."""
    stop: Stop = field(default_factory=Stop)
    sleeping: dict[str, Sleep] = field(default_factory=dict)
    """Of the runs that wait for something."""

    def round(self) -> datetime | None:
        """Tick each open run that does not rest; answers when the first of them wants to be woken (None: none does).

        A run that rests costs nothing until its time has come, or somebody has written or asked something of it. One that
        waits for a slot is woken when anything has happened to any run, for that may have freed it.
        """
        _ = self.keeper.fence  # a daemon that lost its lease ends even where there is nothing to do
        news = self.store.news()
        gone = self.sleeping.keys() - news.keys()
        stirred = bool(gone)
        for run, mark in news.items():
            nap = self.sleeping.get(run)
            if nap is None or nap.mark != mark or nap.over(self.clock.now()):
                acted = self._tick_until_rest(run, mark)
                stirred |= acted or (nap is not None and nap.mark != mark)
        for run in [run for run, nap in self.sleeping.items() if run in gone or (stirred and nap.wants_slot)]:
            del self.sleeping[run]
        return min((nap.until for nap in self.sleeping.values() if nap.until is not None), default=None)

    def run(self, done: Callable[[], bool] = lambda: False) -> None:
        """Go on until it is asked to stop (the tick that is under way is finished) or `done` says so.

        A database that cannot be used is waited for; whoever holds it or filled the disk is named once.
        """
        jumps, trouble = ClockJumpDetector(self.clock, self.monotonic), ""
        while not self.stop.is_set():
            before, wake = trouble, None
            try:
                self._survive(jumps)
                wake, trouble = self.round(), ""
                if done():
                    return
            except StoreUnavailable as error:
                trouble = str(error)
            self._say_change(before, trouble)
            now = self.clock.now()
            rest_s = IDLE_S if wake is None else min(IDLE_S, (wake - now) / timedelta(seconds=1))
            if not self.stop.is_set():
                self.clock.sleep(max(0.02, rest_s))

    def _say_change(self, before: str, trouble: str) -> None:
        if trouble and trouble != before:
            self.notice(f"{trouble} (the daemon goes on trying by itself)")
        elif before and not trouble:
            self.notice("the database can be used again")

    def _survive(self, jumps: ClockJumpDetector) -> None:
        """After a jump of the clock forget what was noted by the old one, and keep the lease from running out."""
        jump_s = jumps.jump_s()
        if abs(jump_s) >= JUMP_S:
            size = duration(abs(jump_s))
            self.notice(
                f"the clock jumped forward by {size}: asleep?" if jump_s > 0 else f"the clock was set back by {size}"
            )
            self.keeper.renew()
            self.store.forget_looks(self.keeper.fence)
            self.sleeping.clear()
        jumps.settle()

    def _tick_until_rest(self, run: str, mark: ChangeToken) -> bool:
        """Whether the run did anything before it came to rest."""
        self.sleeping.pop(run, None)
        try:
            shell = self.shell_for(self.store.load(run))
        except RunDamaged as error:
            return self._set_apart(run, mark, str(error))
        except failsafe.CONCERNS_ALL:
            raise
        except RelayError as error:  # one run that cannot be served must not stop the others
            return self._set_apart(run, mark, str(error))
        except Exception as error:  # noqa: BLE001  nor one that relay itself fails at
            return self._give_up(run, mark, error)
        stirred = False
        while not self.stop.is_set():
            try:
                turn = tick(self.store, run, shell, self.keeper.fence)
            except RunDamaged as error:
                return self._set_apart(run, mark, str(error))
            except failsafe.CONCERNS_ALL:
                raise
            except Exception as error:  # noqa: BLE001  the same
                return self._give_up(run, mark, error)
            self.listener(run, turn)
            if isinstance(turn.command, Wait):
                self.sleeping[run] = Sleep(turn.command.until, mark, turn.command.wants_slot)
                break
            stirred = True
        return stirred

    def _give_up(self, run: str, mark: ChangeToken, error: Exception) -> bool:
        """Park the run for an error of relay's own; one that cannot even be parked is left alone for a while."""
        turn = failsafe.parked(self.store, run, error, self.clock.now(), self.keeper.fence)
        if turn is None:
            return self._set_apart(run, mark, failsafe.sentence(error))
        self.listener(run, turn)
        return True

    def _set_apart(self, run: str, mark: ChangeToken, why: str) -> bool:
        """Say why a run is not carried out, and look at it again later: a person may have mended it. It has not stirred."""
        again = self.clock.now() + timedelta(seconds=REFUSED_S)
        self.sleeping[run] = Sleep(again, mark)
        self.listener(run, Turn(Wait(again, why), failure=why))
        return False
