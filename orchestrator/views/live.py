"""A rehearsal or `relay up` as it happens: progress of each stage, the session's clock, what is left."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.clock import Clock
from orchestrator.tick import Turn
from orchestrator.views.document import run_document
from orchestrator.views.events import lines
from orchestrator.views.values import metrics_text
from state.store import Store

PLAIN_EVERY_S = 10.0
SHOWN = ("loss", "reward", "format", "accuracy", "hard_accuracy", "kl")


@contextlib.contextmanager
def display(store: Store, run: str, clock: Clock) -> Iterator[Callable[[str, Turn], None]]:
    """A place for the daemon's turns: a live screen on a terminal, a line each otherwise."""
    if not sys.stdout.isatty():
        yield Plain(store, run, clock).turn
        return
    console = Console(highlight=False)
    view = Screen(store, run, clock)
    with Live(view, console=console, refresh_per_second=4, transient=True):

        def turn(name: str, happened: Turn) -> None:
            for line in lines(happened):
                console.print(f"[dim]{clock.now():%H:%M:%S}[/]  {line}")

        yield turn


class Screen:
    """What the live screen shows, drawn anew from the database each time."""

    def __init__(self, store: Store, run: str, clock: Clock) -> None:
        self._store, self._run, self._clock = store, run, clock
        self._lock = threading.Lock()

    def __rich__(self) -> RenderableType:
        with self._lock:
            now = self._clock.now()
            document = run_document(self._store.load(self._run), self._store.last_metrics(self._run), now)
        return Group(stage_bars(document), Text(session_line(document, now)))


class Plain:
    """For a pipe or a log: events as they happen, and now and then where training stands."""

    def __init__(self, store: Store, run: str, clock: Clock) -> None:
        self._store, self._run, self._clock = store, run, clock
        self._said_at: datetime | None = None

    def turn(self, name: str, happened: Turn) -> None:
        """Say what a turn did, if anything."""
        for line in lines(happened):
            self._say(line)
        now = self._clock.now()
        if self._said_at is None or (now - self._said_at).total_seconds() >= PLAIN_EVERY_S:
            self._said_at = now
            document = run_document(self._store.load(self._run), self._store.last_metrics(self._run), now)
            self._say(f"{training_line(document)}  {session_line(document, now)}")

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{self._clock.now():%H:%M:%S}  {line}\n")
        sys.stdout.flush()


def stage_bars(run: dict[str, Any]) -> Table:
    """A bar a stage: steps seen of the target, and the newest values."""
    table = Table.grid(padding=(0, 2))
    for stage in run["stages"]:
        table.add_row(
            Text(stage["name"], style="bold"),
            ProgressBar(total=stage["target"], completed=stage["seen"], width=24),
            f"{stage['seen']}/{stage['target']}",
            metrics_text({name: stage["metrics"][name] for name in SHOWN if name in stage["metrics"]}),
        )
    return table


def training_line(run: dict[str, Any]) -> str:
    """The stage under way in one line."""
    stage = next((s for s in run["stages"] if s["seen"] < s["target"]), run["stages"][-1])
    values = {name: stage["metrics"][name] for name in SHOWN if name in stage["metrics"]}
    return f"{stage['name']} {stage['seen']}/{stage['target']}  {metrics_text(values)}".rstrip()


def session_line(run: dict[str, Any], now: datetime) -> str:
    """The session's clock, and how long the rest may take at the pace so far."""
    parts = []
    if run["sessions"]:
        session = run["sessions"][-1]
        clock = "" if session["seconds"] is None else f" {session['seconds']:.0f} s of {session['limit_s']:.0f} s"
        parts.append(f"session {session['number']} {session['phase']}{clock}")
    seen = sum(stage["seen"] for stage in run["stages"])
    elapsed_s = (now - datetime.fromisoformat(run["created_at"])).total_seconds()
    parts.append(f"{elapsed_s:.0f} s so far")
    if 0 < seen < run["steps_total"]:
        parts.append(f"about {elapsed_s * (run['steps_total'] - seen) / seen:.0f} s left")
    return " · ".join(parts)
