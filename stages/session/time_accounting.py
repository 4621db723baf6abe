"""What a session does with its seconds: each is in exactly one class, and all of them together are the session's clock.

Classes are named as in Google's ML Goodput Measurement where it has a name for them; docs/goodput.md has the table. A class is
entered with `doing`, and the innermost one counts. What only tells afterwards how long it took, as JAX does of a compilation, is
moved out of the class in which it happened.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum


class TimeClass(StrEnum):
    """What a second of a session can be spent on. The values are in reports and databases: they never change."""

    ACCELERATOR = "accelerator_initialization"
    INSTALL = "environment_install"
    MODEL = "model_load"
    COMPILE = "compile"
    DATA = "data_wait"
    STEP = "training_step"
    ROLLOUT = "rollout"
    EVALUATION = "evaluation"
    SAVE = "checkpoint_save"
    RESTORE = "checkpoint_restore"
    OTHER = "other"


COUNTS = frozenset((TimeClass.STEP, TimeClass.ROLLOUT, TimeClass.EVALUATION))
"""What a session is there for: steps that count, as long as a checkpoint holds them in the end."""


class TimeAccount:
    """One session's seconds by class. All methods may be called from any thread, but for `doing`: it is for the thread that
    runs the session, and for one that it waits for meanwhile.

    `clock` is the session's, which is 0 when the kernel's process starts: what went by before is in OTHER.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: dict[TimeClass, float] = {}
        self._doing = [TimeClass.OTHER]
        self._since_s = 0.0
        self._moved: list[tuple[float, float]] = []
        """(begin, seconds) of what was moved, newest last, as long as something around it may still be told of."""

    @contextmanager
    def doing(self, what: TimeClass) -> Iterator[None]:
        """Until this ends, seconds are of this class, but for those of a class entered within it."""
        self._turn(lambda: self._doing.append(what))
        try:
            yield
        finally:
            self._turn(lambda: self._doing.pop())

    def spent(self, what: TimeClass, seconds: float) -> None:
        """So many of the seconds until now were of this class after all: what went on inside the one that is entered.

        Told of something that lies around what was told before (a compilation inside another), only the rest is moved.
        """
        with self._lock:
            now_s = self._settle()
            begin_s = now_s - seconds
            inside_s = 0.0
            while self._moved and self._moved[-1][0] >= begin_s:
                inside_s += self._moved.pop()[1]
            self._moved = [*self._moved[-100:], (begin_s, seconds)]
            current = self._doing[-1]
            rest_s = min(max(0.0, seconds - inside_s), self._seconds.get(current, 0.0))
            self._add(current, -rest_s)
            self._add(what, rest_s)

    def seconds(self) -> dict[str, float]:
        """Seconds by class until now, classes in which none were spent left out; their sum is the clock."""
        with self._lock:
            self._settle()
            return {what.value: round(seconds, 3) for what, seconds in sorted(self._seconds.items()) if seconds > 0}

    def _turn(self, turn: Callable[[], object]) -> None:
        with self._lock:
            self._settle()
            turn()

    def _settle(self) -> float:
        """Count what went by since the last time to the class that is entered."""
        now_s = self._clock()
        self._add(self._doing[-1], now_s - self._since_s)
        self._since_s = now_s
        return now_s

    def _add(self, what: TimeClass, seconds: float) -> None:
        self._seconds[what] = self._seconds.get(what, 0.0) + seconds


def productive_s(seconds: dict[str, float]) -> float:
    """Of seconds by class, those of the steps that a session is there for."""
    return sum(seconds.get(what, 0.0) for what in COUNTS)
