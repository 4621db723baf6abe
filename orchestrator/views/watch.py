"""`relay status --watch`: the status as it changes, polled from the database while the daemon writes to it."""

import contextlib
import json
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from orchestrator.base.clock import Clock, Stop, monotonic_s
from orchestrator.base.humanize import local_time
from orchestrator.base.terminal import escape_controls
from orchestrator.platforms.names import KAGGLE, name_in
from orchestrator.views.aging import aged
from orchestrator.views.curves import Curves
from orchestrator.views.document import curves_of, daemon_document
from orchestrator.views.fact_text import describe_fact
from orchestrator.views.layout import labelled
from orchestrator.views.live import LineView
from orchestrator.views.next_action import action_line
from orchestrator.views.overview import status_view
from orchestrator.views.printing import can_redraw
from state.facts.base import LoggedFact
from state.failures import StoreUnavailable
from state.reader import Reader

EVERY_S = 2.0
CLOCK, CLOCK_MAX = timedelta(seconds=10), timedelta(minutes=1)
"""Shortest and longest time after which clocks are shown anew although nothing has changed."""
RESTS = 200
"""How many times as long as it took to show a status its clocks then stay: half a percent of a core at most."""
REREAD = timedelta(minutes=2)
"""Time after which everything is read again although nothing has changed in the database: the disk, the forecasts."""
EVENTS_MAX = 30
SETTLED = ("finished", "parked", "cancelled")


@dataclass(frozen=True)
class StatusReading:
    """Result of one poll: status document, curves, newest events (oldest first), and any read error."""

    document: dict[str, Any]
    curves: dict[str, Curves] = field(default_factory=dict)
    events: tuple[LoggedFact, ...] = ()
    platforms: Mapping[str, str] = field(default_factory=dict)
    """Name of the platform of each run that has an event, by the run's id."""
    trouble: str = ""


class Watcher:
    """Polls a home folder, and reads the status again where something has changed.

    Otherwise it only lets the clocks in the last status go on, after `clock`. While the database cannot be read, the last
    status is shown with the error.
    """

    def __init__(
        self,
        store: Callable[[], Reader | None],
        read: Callable[[Reader | None], dict[str, Any]],
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._read, self._now = store, read, now
        self.last: StatusReading | None = None
        """Newest status that was read."""
        self._mark: tuple[Any, ...] = ()
        self._read_at: datetime | None = None
        self.clock = CLOCK

    def showed(self, took_s: float) -> None:
        """Let the clocks stay for longer the longer it took to show the last status, in seconds."""
        self.clock = min(max(CLOCK, timedelta(seconds=RESTS * took_s)), CLOCK_MAX)

    def poll(self, run: str | None) -> StatusReading:
        """Return the current status, the same object if nothing is new. Raises StoreUnavailable if the first read fails."""
        try:
            self.last = self._current(run)
        except StoreUnavailable as error:
            if self.last is None:
                raise
            self._mark = ()
            return replace(self.last, trouble=str(error))
        return self.last

    def _current(self, run: str | None) -> StatusReading:
        store, now = self._store(), self._now()
        mark = self._change_mark(store, now)
        last = self.last
        fresh = self._read_at is not None and self._read_at <= now < self._read_at + REREAD
        if last is None or mark != self._mark or not fresh:
            seen = self._seen(store, run)
            self._mark, self._read_at = mark, now
            return seen
        since = now - datetime.fromisoformat(last.document["at"])
        return last if since < self.clock else replace(last, document=aged(last.document, now))

    def _change_mark(self, store: Reader | None, now: datetime) -> tuple[Any, ...]:
        if store is None:
            return ()
        daemon = daemon_document(store.lease(), now)
        return (daemon is not None and daemon["runs"], *store.change_mark())

    def _seen(self, store: Reader | None, run: str | None) -> StatusReading:
        document = self._read(store)
        before = self.last
        same = before is not None and _stages(before.document) == _stages(document)
        curves = before.curves if before is not None and same else curves_of(store, document)
        events = store.newest_facts(EVENTS_MAX, run) if store is not None else []
        platforms = {} if store is None else _platforms(store, {happened.run for happened in events})
        return StatusReading(document, curves, tuple(events), platforms)


def _platforms(store: Reader, runs: Collection[str]) -> dict[str, str]:
    return {run.id: name_in(run.pipeline) for run in store.runs() if run.id in runs}


def _stages(document: dict[str, Any]) -> list[Any]:
    return [(run["id"], run["stages"]) for run in document["runs"]]


View = Callable[[dict[str, Any], Mapping[str, Curves]], RenderableType]
"""Function from a status document and curves by run to what the screen shows."""


def watch(
    watcher: Watcher,
    run: str | None,
    on: Console,
    clock: Clock,
    stop: Stop,
    *,
    as_json: bool = False,
    view: View = status_view,
) -> int:
    """Show every poll until `stop` is set, or until the named run is over or parked.

    Return the exit status: 1 if the named run ended up parked or cancelled, else 0. Without a name, polling continues
    until `stop` is set.
    """
    teller = _json_lines(on) if as_json else screen(on, view) if can_redraw(on) else _lines(on, clock)
    with teller as tell:
        while True:
            before, seen = watcher.last, watcher.poll(run)
            began_s = monotonic_s()
            tell(seen)
            if seen is not before:
                watcher.showed(monotonic_s() - began_s)
            state = seen.document["runs"][0]["state"] if run else ""
            if state in SETTLED or stop.is_set():
                return 1 if state in SETTLED and state != "finished" and not stop.is_set() else 0
            clock.sleep(EVERY_S)


Tell = Callable[[StatusReading], None]


@contextlib.contextmanager
def screen(on: Console, view: View = status_view) -> Iterator[Tell]:
    """Use the whole terminal; the last view stays visible at the end."""
    last: list[RenderableType] = []
    shown: list[StatusReading] = []

    with Live(console=on, screen=True, auto_refresh=False) as live:

        def tell(seen: StatusReading) -> None:
            if shown and shown[-1] is seen:
                return
            shown[:] = [seen]
            last[:] = [view(seen.document, seen.curves)]
            live.update(FullScreen(seen, last[0]), refresh=True)

        yield tell
    for view_left in last:
        on.print(view_left)


@dataclass(frozen=True)
class FullScreen:
    """The status, and below it as many of the newest events as fit."""

    seen: StatusReading
    view: RenderableType
    """The status, as shown."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        seen = self.seen
        now = datetime.fromisoformat(seen.document["at"])
        trouble = [Text(seen.trouble, style="bold red")] if seen.trouble else []
        above = Group(*trouble, self.view)
        rows = console.render_lines(above, options.update(height=None), pad=False)
        room = (options.height or console.size.height) - len(rows) - 1
        if room < -1:
            yield from _cropped(rows, len(rows) + room)
            return
        for row in rows:
            yield from row
            yield Segment.line()
        several = len(seen.document["runs"]) > 1
        told = [
            (at, text) for happened in seen.events for at, text in _event_line(happened, seen.platforms, now, several)
        ]
        first = bisect_left(
            range(len(told)), True, key=lambda first: self._height(told[first:], console, options) <= room
        )
        if told[first:] and room > 0:
            yield _events(told[first:])

    def _height(self, told: list[tuple[str, str]], console: Console, options: ConsoleOptions) -> int:
        return len(console.render_lines(_events(told), options.update(height=None), pad=False))


def _events(told: Sequence[tuple[str, str]]) -> RenderableType:
    return labelled((at, Text(text)) for at, text in told)


def _cropped(rows: list[list[Segment]], fitting: int) -> RenderResult:
    """Yield the first `fitting` rows and, below them, how many more there are."""
    for row in rows[:fitting]:
        yield from row
        yield Segment.line()
    yield Text(f"{len(rows) - fitting} more lines: enlarge the window", style="dim", no_wrap=True, overflow="crop")


def _event_line(
    happened: LoggedFact, platforms: Mapping[str, str], now: datetime, several: bool
) -> list[tuple[str, str]]:
    """Return one event as time and sentence; nothing if another event describes it better."""
    text = describe_fact(happened.fact, platforms.get(happened.run, KAGGLE))
    name = f"{happened.run}  " if several else ""
    return [(local_time(happened.at, now), f"{name}{text}")] if text else []


@contextlib.contextmanager
def _lines(on: Console, clock: Clock) -> Iterator[Tell]:
    """Print a line for each change."""
    told, newest, advice, trouble = LineView(on, clock), [-1], dict[str, list[Any]](), [""]

    def tell(seen: StatusReading) -> None:
        if seen.trouble != trouble[0]:
            told.say(seen.trouble or "the database can be read again")
            trouble[0] = seen.trouble
        runs = seen.document["runs"]
        several = len(runs) > 1
        problems = _problem_lines(seen.document)
        for text in problems if advice.get("", []) != problems else ():
            told.say(text)
        advice[""] = problems
        if not runs and not problems and newest[0] < 0:
            told.say(f"no runs in {seen.document['home']} yet")
        for happened in seen.events:
            text = describe_fact(happened.fact, seen.platforms.get(happened.run, KAGGLE))
            if happened.number > newest[0] >= 0 and text:
                told.say(f"{happened.run}  {text}")
        newest[0] = max(0, newest[0], *(happened.number for happened in seen.events))
        due = told.due()
        for run in runs:
            state_key = [run["state"], run["reason"], run["requests"], run["to_do"]["command"], bool(run["failure"])]
            if advice.get(run["id"]) != state_key:
                advice[run["id"]] = state_key
                told.say(f"{run['id']}  {run['state']}  {action_line(run['to_do'])}")
            if due and run["state"] not in SETTLED:
                told.progress(run, f"{run['id']}  " if several else "")

    yield tell


def _problem_lines(document: dict[str, Any]) -> list[Any]:
    """Return the messages about damaged and missing runs."""
    damaged = [f"{run['id']}  {run['message']}; type: {run['command']}" for run in document["damaged"]]
    return damaged + [run["message"] for run in document["lost"][:1]]


@contextlib.contextmanager
def _json_lines(on: Console) -> Iterator[Tell]:
    """Print the status document, one per line, whenever anything but the clock has changed."""
    last: list[Any] = [None]

    def tell(seen: StatusReading) -> None:
        state_key = _change_key(seen.document)
        if state_key != last[0]:
            last[0] = state_key
            on.file.write(escape_controls(json.dumps(seen.document)) + "\n")
            on.file.flush()

    yield tell


def _change_key(document: dict[str, Any]) -> list[Any]:
    """Return the parts of a document that count as a change."""
    keys = ("id", "state", "reason", "failure", "requests", "stages", "damage")
    phases = [[session["phase"] for session in run["sessions"]] for run in document["runs"]]
    quota = [(each["owner"], each["accelerator"], each["left_s"]) for each in document["quota"]]
    types = [run["to_do"]["command"] for run in document["runs"]]
    problems = [document["damaged"], document["lost"]]
    return [
        document["warnings"],
        problems,
        [[run[key] for key in keys] for run in document["runs"]],
        phases,
        types,
        quota,
    ]
