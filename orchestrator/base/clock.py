"""Clocks that are passed as arguments. This is the only module that reads the machine's clock or sleeps."""

import contextlib
import queue
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Interface of a clock: the current time in UTC, and a sleep that `wake` can end early."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""

    def monotonic(self) -> float:
        """Return seconds since a fixed moment, for measuring durations: setting the clock does not affect them."""

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`, or less when woken."""


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        # Only this queue can be filled by a signal handler that interrupts the wait on it.
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return monotonic_s()

    def sleep(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._woken.get(timeout=max(0.0, seconds))

    def wake(self) -> None:
        """End the current sleep, or the next one at once. Safe in a signal handler."""
        self._woken.put(None)


class Stop:
    """A request to stop a program: it finishes current work and begins nothing new. Safe to set in a signal handler."""

    def __init__(self) -> None:
        self._asked = False
        self._wakes: list[Callable[[], None]] = []

    def set(self) -> None:
        """Request the stop, and wake sleeping clocks."""
        self._asked = True
        for tell in self._wakes:
            tell()

    def is_set(self) -> bool:
        """Return True if a stop was requested."""
        return self._asked

    def tell(self, wake: Callable[[], None]) -> None:
        """Register a function to call when a stop is requested: the `wake` of a clock in use."""
        self._wakes.append(wake)
        if self._asked:
            wake()


class VirtualClock:
    """Clock for simulations: time passes only during `sleep`."""

    def __init__(self, start: datetime = datetime(2030, 1, 7, tzinfo=UTC)) -> None:
        self._start = self._now = start

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=max(0.0, seconds))


def monotonic_s() -> float:
    """Return seconds on a clock that never jumps, for measuring durations."""
    return time.monotonic()
