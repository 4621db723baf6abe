"""Books a session's seconds by class: each second belongs to exactly one class, and their sum is the session's clock.

Classes are named as in Google's ML Goodput Measurement where it has a name for them; see the table in docs/goodput.md.
A class is entered with `doing`, and the innermost one counts. Durations that are only reported afterwards, such as
JAX's compilation times, are moved out of the class in which they occurred.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum


class TimeClass(StrEnum):
    """Classes of a run's time, in the order in which they are shown.

    Their words and colours are in `orchestrator.core.time_classes`. The values are stored in reports and databases, so
    they must never change.
    """

    # booked by a session
    STEP = "training_step"
    ROLLOUT = "rollout"
    EVALUATION = "evaluation"
    ACCELERATOR = "accelerator_initialization"
    INSTALL = "environment_install"
    MODEL = "model_load"
    RESTORE = "checkpoint_restore"
    COMPILE = "compile"
    DATA = "data_wait"
    OTHER = "other"
    # derived by the laptop, of time that Kaggle charges for
    STARTUP = "startup"
    SAVE = "checkpoint_save"  # booked by a session, too
    WASTED = "wasted"
    IDLE_TAIL = "idle_tail"
    NOT_REPORTED = "not_reported"
    # derived by the laptop, of time that costs no quota
    QUEUE = "queue"
    TRANSFER_DOWN = "transfer_down"
    TRANSFER_UP = "transfer_up"
    DATASET_PROCESSING = "dataset_processing"
    ORCHESTRATOR_DELAY = "orchestrator_delay"
    QUOTA_WAIT = "quota_wait"
    PARKED = "parked"


PRODUCTIVE = (TimeClass.STEP, TimeClass.ROLLOUT, TimeClass.EVALUATION)
"""Classes that count as useful time if a checkpoint contains the result in the end."""
SESSION_CLASSES = (
    *PRODUCTIVE, TimeClass.ACCELERATOR, TimeClass.INSTALL, TimeClass.MODEL, TimeClass.RESTORE, TimeClass.COMPILE,
    TimeClass.DATA, TimeClass.OTHER, TimeClass.SAVE,
)  # fmt: skip
"""Classes that a session books."""


class TimeAccount:
    """Seconds of one session by class. All methods are thread-safe, except `doing`: only for the session's thread, or a
    thread that the session's thread is waiting for.

    `clock` is the session's clock, which is 0 when the kernel's process starts; time before the
    first `doing` belongs to OTHER.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: dict[TimeClass, float] = {}
        self._doing = [TimeClass.OTHER]
        self._since_s = 0.0
        self._reported: list[tuple[float, float]] = []
        """(begin, seconds) of reported durations, newest last, kept while a later report may enclose them."""

    @contextmanager
    def doing(self, what: TimeClass) -> Iterator[None]:
        """Book the seconds within the `with` block under this class, except those of a class entered inside it."""
        self._switch(lambda: self._doing.append(what))
        try:
            yield
        finally:
            self._switch(lambda: self._doing.pop())

    def spent(self, what: TimeClass, seconds: float) -> None:
        """Move the last `seconds` until now from the current class to `what`.

        If durations within this period were reported before (a compilation inside another
        one), only the remainder is moved.
        """
        with self._lock:
            now_s = self._book_elapsed()
            begin_s = now_s - seconds
            inside_s = 0.0
            while self._reported and self._reported[-1][0] >= begin_s:
                inside_s += self._reported.pop()[1]
            self._reported = [*self._reported[-100:], (begin_s, seconds)]
            current = self._doing[-1]
            rest_s = min(max(0.0, seconds - inside_s), self._seconds.get(current, 0.0))
            self._add(current, -rest_s)
            self._add(what, rest_s)

    def spent_on(self, what: TimeClass) -> float:
        """Return the seconds that were booked under this class until now."""
        with self._lock:
            self._book_elapsed()
            return self._seconds.get(what, 0.0)

    def seconds(self) -> dict[str, float]:
        """Return the seconds by class until now, without classes that have none; their sum is the clock."""
        with self._lock:
            self._book_elapsed()
            return {what.value: round(seconds, 3) for what, seconds in sorted(self._seconds.items()) if seconds > 0}

    def _switch(self, change: Callable[[], object]) -> None:
        with self._lock:
            self._book_elapsed()
            change()

    def _book_elapsed(self) -> float:
        """Book the time since the last call under the current class; returns the clock."""
        now_s = self._clock()
        self._add(self._doing[-1], now_s - self._since_s)
        self._since_s = now_s
        return now_s

    def _add(self, what: TimeClass, seconds: float) -> None:
        self._seconds[what] = self._seconds.get(what, 0.0) + seconds


def productive_s(seconds: Mapping[str, float] | Mapping[TimeClass, float]) -> float:
    """Sum the seconds of the productive classes."""
    return sum(seconds.get(what, 0.0) for what in PRODUCTIVE)
