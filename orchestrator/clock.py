"""Time, as something that one can hand over. The only place that reads the machine's clock or sleeps."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Aware UTC now, and a sleep that `wake` can end early."""

    def now(self) -> datetime:
        """The time, aware and in UTC."""

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`, or earlier when woken."""


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        if self._woken.wait(max(0.0, seconds)):
            self._woken.clear()

    def wake(self) -> None:
        """End a sleep that is under way, or the next one at once."""
        self._woken.set()


class VirtualClock:
    """Time that passes only when somebody sleeps: for simulations."""

    def __init__(self, start: datetime = datetime(2030, 1, 7, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=max(0.0, seconds))


def monotonic_s() -> float:
    """Seconds on a clock that never jumps, for measuring durations."""
    return time.monotonic()
