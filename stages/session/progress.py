"""Session log with numbered events for the laptop and text for people; each line is flushed immediately."""

import math
import os
import sys
import threading
from collections.abc import Callable, Mapping

from stages.contract import PROGRESS_PREFIX, Progress

STEP_INTERVAL_S = 0.2
"""Shortest interval between two step events, in seconds: relay downloads Kaggle's whole log at each poll."""

DIGITS = 7
"""Significant digits of metrics in step events: the precision of a 32-bit float. Reports and traces keep all digits."""


class Log:
    """Writes to standard output. `clock` returns seconds on the session's clock. All methods are thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._number = 0
        self._step_at_s = -math.inf
        self._lock = threading.Lock()

    def event(
        self,
        event: str,
        *,
        stage: str = "",
        step: int = 0,
        target: int = 0,
        metrics: Mapping[str, float] | None = None,
        note: str = "",
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        """Write a numbered event. Metrics that are not finite have no JSON form; they are
        listed in the note instead."""
        finite = {name: value for name, value in (metrics or {}).items() if math.isfinite(value)}
        odd = [f"{name} is {value}" for name, value in (metrics or {}).items() if name not in finite]
        with self._lock:
            progress = Progress(
                number=self._number,
                event=event,
                at_s=round(self._clock(), 3),
                stage=stage,
                step=step,
                target=target,
                metrics=finite,
                note="; ".join([note, *odd] if note else odd),
                seconds=dict(seconds or {}),
            )
            self._number += 1
            self._write(progress.line())

    def step(self, stage: str, step: int, target: int, metrics: Mapping[str, float], *, always: bool) -> None:
        """Write a step's event; it is skipped within STEP_INTERVAL_S of the previous one unless `always` is set."""
        now_s = self._clock()
        if not always and now_s - self._step_at_s < STEP_INTERVAL_S:
            return
        self._step_at_s = now_s
        short = {name: float(f"{value:.{DIGITS}g}") for name, value in metrics.items()}
        self.event("step", stage=stage, step=step, target=target, metrics=short)

    def say(self, text: str) -> None:
        """Write text for people; a line that looks like an event is indented so that it is not parsed as one."""
        lines = [f" {line}" if line.startswith(PROGRESS_PREFIX) else line for line in text.splitlines()]
        with self._lock:
            self._write("\n".join(lines))

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_stdout()  # go on training if the log's reader is gone: the session's files still count


class SilentLog(Log):
    """Log of a process that leaves events and text to the first process of its session."""

    def _write(self, text: str) -> None:
        """Write nothing."""


def _discard_stdout() -> None:
    """Redirect standard output to the null device, including buffered output and that of stages."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
