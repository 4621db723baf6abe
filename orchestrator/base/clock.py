"""Time, as something that one can hand over. The only place that reads the machine's clock or sleeps."""

import contextlib
import queue
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Aware UTC now, and a sleep that `wake` can end early."""

    def now(self) -> datetime:
        """The time, aware and in UTC."""

    def monotonic(self) -> float:
        """Seconds since some moment, for durations: no setting of the clock changes how they go on."""

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`, or earlier when woken."""


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        # Of all that can be waited for, only this queue may be filled by a signal handler that interrupts the waiting.
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return monotonic_s()

    def sleep(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._woken.get(timeout=max(0.0, seconds))

    def wake(self) -> None:
        """End a sleep that is under way, or the next one at once. Safe in a signal handler."""
        self._woken.put(None)


class Stop:
    """Asks a program to end: what is under way is finished, and nothing new is begun. Safe to set in a signal handler."""

    def __init__(self) -> None:
        self._asked = False
        self._tell: list[Callable[[], None]] = []

    def set(self) -> None:
        """Ask, and wake whoever sleeps."""
        self._asked = True
        for tell in self._tell:
            tell()

    def is_set(self) -> bool:
        """Whether it was asked."""
        return self._asked

    def tell(self, wake: Callable[[], None]) -> None:
        """Call this too when it is asked: the `wake` of a clock that is slept on."""
        self._tell.append(wake)
        if self._asked:
            wake()


class VirtualClock:
    """Time that passes only when somebody sleeps: for simulations."""

    def __init__(self, start: datetime = datetime(2030, 1, 7, tzinfo=UTC)) -> None:
        self._start = self._now = start

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=max(0.0, seconds))


def monotonic_s() -> float:
    """Seconds on a clock that never jumps, for measuring durations."""
    return time.monotonic()
