"""The session's log: numbered events for the laptop between lines for people, each out before the next thing happens."""

import math
import os
import sys
import threading
from collections.abc import Callable, Mapping

from stages.contract import PROGRESS_PREFIX, Progress

STEP_INTERVAL_S = 0.2
"""At most so often a step is worth a line: Kaggle's log is fetched whole, again and again."""

DIGITS = 7
"""Of a step's metrics: what a number of 32 bits has, and what a curve shows. Reports and traces have all of them."""


class Log:
    """Writes to standard output. `clock` gives seconds on the session's clock. Safe to use from several threads."""

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
        """One numbered event. Metrics that are not finite cannot be JSON: the note names them instead."""
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
        """A step's event, left out if the last one is only just past, unless it matters (`always`)."""
        now_s = self._clock()
        if not always and now_s - self._step_at_s < STEP_INTERVAL_S:
            return
        self._step_at_s = now_s
        short = {name: float(f"{value:.{DIGITS}g}") for name, value in metrics.items()}
        self.event("step", stage=stage, step=step, target=target, metrics=short)

    def say(self, text: str) -> None:
        """Lines for people; one that looks like an event is indented, so that nobody takes it for one."""
        lines = [f" {line}" if line.startswith(PROGRESS_PREFIX) else line for line in text.splitlines()]
        with self._lock:
            self._write("\n".join(lines))

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            _write_to_nobody()  # a session is worth its files, whether or not somebody still reads its log


def _write_to_nobody() -> None:
    """Send standard output nowhere, what is buffered and what stages print themselves included."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
