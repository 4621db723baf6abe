"""Tick every open run for ever: one daemon a database, held by a lease that a background thread keeps."""

import os
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.clock import Clock
from orchestrator.commands import Rest
from orchestrator.effects import Shell
from orchestrator.errors import BadInput, Transient
from orchestrator.tick import Turn, tick
from state.model import RunState
from state.store import Lease, LeaseHeld, LeaseLost, Store

LEASE_S = 60.0
IDLE_S = 2.0
"""How soon a request made while the daemon rests is seen."""

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
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._lease = self._store.take_lease(holder(), self._clock.now(), self._lasts_s, gone)
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
            self._store.release_lease(self._lease, self._clock.now())

    @property
    def fence(self) -> int:
        """The lease's number; raises LeaseLost once another daemon has taken over."""
        if self._lost.is_set():
            raise LeaseLost("another daemon took this database over")
        assert self._lease is not None, "the lease was not taken"
        return self._lease.fence

    def _keep(self) -> None:
        while not self._stop.wait(self._lasts_s / 4):
            assert self._lease is not None, "the lease was not taken"
            try:
                self._lease = self._store.keep_lease(self._lease, self._clock.now(), self._lasts_s)
            except LeaseLost:
                self._lost.set()
                return


@dataclass(frozen=True)
class Daemon:
    """Carries every open run of one database as far as it goes."""

    store: Store
    shell_for: Callable[[RunState], Shell]
    clock: Clock
    keeper: LeaseKeeper
    listener: Listener
    refused: dict[str, datetime] = field(default_factory=dict)
    """Runs that the credentials did not fit, and when each is tried again."""

    def round(self) -> datetime | None:
        """Tick each open run until it rests; answers when the first of them wants to be woken (None: none does)."""
        wake: datetime | None = None
        for run in self.store.open_runs():
            until = self._until_rest(run)
            if until is not None and (wake is None or until < wake):
                wake = until
        return wake

    def run(self, stop: threading.Event, done: Callable[[], bool] = lambda: False) -> None:
        """Go on until `stop` is set (the tick that is under way is finished) or `done` says so."""
        while not stop.is_set():
            wake = self.round()
            if done():
                return
            now = self.clock.now()
            rest_s = IDLE_S if wake is None else min(IDLE_S, (wake - now) / timedelta(seconds=1))
            if not stop.is_set():
                self.clock.sleep(max(0.02, rest_s))

    def _until_rest(self, run: str) -> datetime | None:
        now = self.clock.now()
        if run in self.refused and now < self.refused[run]:
            return self.refused[run]
        try:
            shell = self.shell_for(self.store.load(run))
        except (BadInput, Transient) as error:  # one run that cannot be served must not stop the others
            self.refused[run] = now + timedelta(seconds=REFUSED_S)
            self.listener(run, Turn(Rest(self.refused[run], str(error)), failure=str(error)))
            return self.refused[run]
        while True:
            turn = tick(self.store, run, shell, self.keeper.fence)
            self.listener(run, turn)
            if isinstance(turn.command, Rest):
                return turn.command.until


def holder() -> str:
    """This process, told from any other that ever had its number."""
    return f"{platform.node()}/{os.getpid()}/{_started(os.getpid())}"


def gone(other: str) -> bool:
    """Whether a holder's process is known to have ended; never true for another machine's."""
    node, pid, started = other.rsplit("/", 2)
    if node != platform.node():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return started != _started(int(pid))


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks since boot; empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
