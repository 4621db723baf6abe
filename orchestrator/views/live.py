"""Live view of a rehearsal: a small screen below the events on a terminal, plain lines otherwise."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.base.clock import Clock
from orchestrator.base.humanize import clock_of_day, duration
from orchestrator.engine.tick import TickResult
from orchestrator.views.fact_text import describe_tick
from orchestrator.views.format import elapsed_text, metrics_text
from orchestrator.views.layout import sentence
from orchestrator.views.printing import can_redraw, console
from orchestrator.views.run_document import run_document
from orchestrator.views.tables import current_stage, stages_table
from state.store import Store

PROGRESS_EVERY_S = 10.0
SHOWN = ("loss", "reward", "format", "accuracy", "hard_accuracy", "kl")


@contextlib.contextmanager
def display(
    store: Store, run: str, clock: Clock, on: Console | None = None
) -> Iterator[Callable[[str, TickResult], None]]:
    """Yield a listener that shows the daemon's ticks: a live screen on a terminal, else lines.

    `on` defaults to standard output.
    """
    on = on or console()
    told = LineView(on, clock)

    def now() -> dict[str, Any]:
        return run_document(store.load(run), store.last_metrics(run), clock.now())

    def tick(_name: str, happened: TickResult) -> None:
        for line in describe_tick(happened):
            told.say(line)
        if not can_redraw(on) and told.due():
            told.progress(now())

    if not can_redraw(on):
        yield tick
        return
    with Live(Screen(now, clock), console=on, refresh_per_second=4, transient=True):
        yield tick


class Screen:
    """Progress screen, redrawn from the database."""

    def __init__(self, read: Callable[[], dict[str, Any]], clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._lock = threading.Lock()

    def __rich__(self) -> RenderableType:
        with self._lock:
            return progress_view(self._read(), self._clock.now())


class LineView:
    """Output for a pipe, a log or a terminal that cannot redraw: events, and at intervals the training progress."""

    def __init__(self, on: Console, clock: Clock) -> None:
        self._on, self._clock = on, clock
        self._printed_s: float | None = None
        self._printed = ""

    def say(self, line: str) -> None:
        """Print one line with the time."""
        self._on.print(Text(f"{clock_of_day(self._clock.now())}  {line}"), soft_wrap=True)
        self._on.file.flush()

    def due(self) -> bool:
        """Return whether it is time to print the progress again."""
        return self._printed_s is None or self._clock.monotonic() - self._printed_s >= PROGRESS_EVERY_S

    def progress(self, run: dict[str, Any], name: str = "") -> None:
        """Print the training progress unless it is unchanged."""
        now = self._clock.now()
        self._printed_s, line_now = self._clock.monotonic(), training_line(run)
        if line_now != self._printed:
            self._printed = line_now
            self.say(f"{name}{line_now}  {session_line(run, now)}")


def progress_view(run: dict[str, Any], now: datetime) -> RenderableType:
    """Show the stages with progress bars, and the session's time."""
    return Group(stages_table(run), sentence(session_line(run, now)))


def training_line(run: dict[str, Any]) -> str:
    """Describe the current stage in one line."""
    stage = current_stage(run)
    values = {name: stage["metrics"][name] for name in SHOWN if name in stage["metrics"]}
    return f"{stage['name']} {stage['seen']}/{stage['target']}  {metrics_text(values)}".rstrip()


def session_line(run: dict[str, Any], now: datetime) -> str:
    """Describe the session's time, and estimate the remaining time from the pace so far."""
    parts = []
    if run["sessions"]:
        session = run["sessions"][-1]
        clock = "" if session["seconds"] is None else f" {elapsed_text(session['seconds'], session['limit_s'])}"
        parts.append(f"session {session['number']} {session['phase']}{clock}")
    seen = sum(stage["seen"] for stage in run["stages"])
    elapsed_s = (now - datetime.fromisoformat(run["created_at"])).total_seconds()
    if elapsed_s < 0:  # the clock was ahead when the run began
        return " · ".join(parts)
    parts.append(f"{duration(elapsed_s)} so far")
    if 0 < seen < run["steps_total"]:
        parts.append(f"about {duration(elapsed_s * (run['steps_total'] - seen) / seen)} left")
    return " · ".join(parts)
