"""`relay status --watch`: what changes is shown, on a screen or in lines, until there is nothing more to wait for."""

import io
import json
import re
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.base.clock import Stop, VirtualClock
from orchestrator.views.document import status_document
from orchestrator.views.live import LineView
from orchestrator.views.watch import Watcher, watch
from state.facts.base import Fact
from state.facts.run import RunCancelled, RunParked
from state.failures import StoreUnavailable
from state.model.metrics import Metric
from state.model.statuses import Phase
from state.read_only import ReadOnlyStore
from state.store import Store
from tests.unit.test_machine import path_to
from tests.unit.test_status_screen import Place

RUNNING = path_to(Phase.RUNNING)
PARKED = RunParked(reason="it broke", remedy="relay retry r-0001")


class Script(VirtualClock):
    """Time in which, each time somebody sleeps, the next thing happens; Ctrl-C when nothing is left."""

    def __init__(self, *events: Callable[[], object]) -> None:
        super().__init__()
        self.stop = Stop()
        self._events = list(events)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self._events:
            self._events.pop(0)()
        else:
            self.stop.set()


class Watched:
    """A run that is watched while another connection writes."""

    def __init__(self, home: Path) -> None:
        self.place = Place(home, Store.at(home))
        self.place.begin("r-0001")
        self.out = io.StringIO()
        self.failing: list[bool] = []
        """Looks to come that find the database closed to them."""

    def append(self, *happened: Fact) -> Callable[[], object]:
        return lambda: self.place.store.append("r-0001", happened, VirtualClock().now())

    def step(self, step: int) -> Callable[[], object]:
        told = Metric(
            run="r-0001",
            session=1,
            attempt=1,
            number=step,
            stage="count",
            step=step,
            name="loss",
            value=1 / step,
            at_s=1,
        )
        return lambda: self.place.store.append("r-0001", [], VirtualClock().now(), metrics=[told])

    def watch(
        self, clock: Script, run: str | None = "r-0001", *, console: Console | None = None, as_json: bool = False
    ) -> int:
        looking = ReadOnlyStore(self.place.home)

        def store() -> Store:
            if self.failing and self.failing.pop(0):
                raise StoreUnavailable("the database is locked by another program")
            return looking

        watcher = Watcher(store, lambda found: status_document(found, self.place.home, clock.now(), run), clock.now)
        on = console or Console(file=self.out, width=140)
        return watch(watcher, run, on, clock, clock.stop, as_json=as_json)

    @property
    def lines(self) -> list[str]:
        """What was said, without the time."""
        return [line[10:] for line in self.out.getvalue().splitlines()]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


@pytest.mark.slow
def test_through_a_pipe_each_change_is_one_plain_line_and_nothing_is_said_twice(watched: Watched) -> None:
    store, now = watched.place.store, VirtualClock().now()
    store.release_lease(store.take_lease("here/12/34", now, 60), now - timedelta(seconds=4))
    quiet: list[Callable[[], object]] = [lambda: None] * 20
    assert watched.watch(Script(watched.append(*RUNNING), *quiet, watched.step(8), *quiet)) == 0
    assert watched.lines[0] == "r-0001  active  no daemon is running (the last one ended 4 s ago); type: relay daemon"
    assert [line for line in watched.lines if "session 1 runs" in line] == ["r-0001  session 1 runs"]
    assert sum(line.startswith("count 8/80  loss 0.125") for line in watched.lines) == 1
    assert sum("no daemon is running" in line for line in watched.lines) == 1
    assert len(watched.lines) == len(set(watched.lines))
    assert re.search(r"[\x00-\x09\x0b-\x1f]", watched.out.getvalue()) is None


@pytest.mark.parametrize(
    ("end", "status"), [(PARKED, 1), (RunCancelled(), 1), (None, 0)], ids=["parked", "cancelled", "asked to stop"]
)
def test_a_named_run_is_watched_until_it_needs_somebody_or_nobody(
    watched: Watched, end: Fact | None, status: int
) -> None:
    clock = Script(watched.append(*RUNNING), *([watched.append(end)] if end else []))
    assert watched.watch(clock) == status
    assert clock.stop.is_set() is (end is None)
    if end is PARKED:
        assert watched.lines[-1] == "r-0001  parked  it broke; type: relay retry r-0001"


def test_without_a_name_it_goes_on_when_a_run_is_parked_and_shows_runs_that_begin(watched: Watched) -> None:
    clock = Script(watched.append(PARKED), lambda: watched.place.begin("r-0002"), lambda: None)
    assert watched.watch(clock, None) == 0
    assert clock.stop.is_set()
    assert any(line.startswith("r-0002  active") for line in watched.lines)


def test_it_reads_while_another_program_writes(watched: Watched) -> None:
    with sqlite3.connect(watched.place.home / "relay.db") as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE run SET reason = 'half written'")
        assert watched.watch(Script()) == 0
        writer.rollback()
    assert "half written" not in watched.out.getvalue()


def test_a_database_that_cannot_be_read_for_a_while_is_said_once_and_waited_for(watched: Watched) -> None:
    watched.failing = [False, True, True, False]
    assert watched.watch(Script(lambda: None, lambda: None, watched.append(PARKED))) == 1
    assert watched.lines[1:] == [
        watched.lines[1],
        "the database is locked by another program",
        "the database can be read again",
        "r-0001  parked: it broke; type: relay retry r-0001",
        "r-0001  parked  it broke; type: relay retry r-0001",
    ]
    watched.failing = [True]
    with pytest.raises(StoreUnavailable):
        watched.watch(Script())


def test_with_json_each_change_is_the_whole_document_in_a_line(watched: Watched) -> None:
    clock = Script(watched.append(*RUNNING), lambda: None, lambda: None, watched.step(8), lambda: None)
    assert watched.watch(clock, as_json=True) == 0
    documents = [json.loads(line) for line in watched.out.getvalue().splitlines()]
    assert [d["runs"][0]["stages"][0]["seen"] for d in documents] == [0, 0, 8]
    assert documents[1]["runs"][0]["sessions"][0]["phase"] == "running"


def test_on_a_terminal_the_screen_has_the_newest_events_that_fit_and_what_was_shown_last_stays(
    watched: Watched,
) -> None:
    terminal = Console(file=watched.out, force_terminal=True, width=80, height=18, legacy_windows=False, _environ={})
    assert watched.watch(Script(watched.append(*RUNNING), lambda: None), console=terminal) == 0
    text = watched.out.getvalue()
    shown, _, left = text.rpartition("\x1b[?1049l")
    assert "session 1 runs" in shown
    assert "r-0001" in left
    assert "session 1 runs" not in left
    for screen in shown.split("\x1b[H")[1:]:
        assert len(screen.splitlines()) <= 18


def test_where_training_stands_is_said_again_only_when_it_has_moved_and_time_has_passed(watched: Watched) -> None:
    clock = VirtualClock()
    told = LineView(Console(file=watched.out, width=140), clock)
    run = status_document(watched.place.store, watched.place.home, clock.now())["runs"][0]
    assert told.due()
    told.progress(run)
    assert not told.due()
    clock.sleep(timedelta(minutes=1).total_seconds())
    assert told.due()
    told.progress(run)
    assert len(watched.lines) == 1


def test_the_database_is_read_again_only_where_something_has_changed(watched: Watched) -> None:
    clock, store, reads = VirtualClock(), ReadOnlyStore(watched.place.home), list[int]()

    def read(found: object) -> dict[str, Any]:
        reads.append(1)
        return status_document(store, watched.place.home, clock.now(), "r-0001")

    watcher = Watcher(lambda: store, read, clock.now)
    first = watcher.poll("r-0001")
    clock.sleep(2.0)
    assert watcher.poll("r-0001") is first
    clock.sleep(10.0)
    aged = watcher.poll("r-0001")
    assert (aged is first, aged.document["at"], len(reads)) == (False, clock.now().isoformat(), 1)
    watched.step(1)()
    assert (watcher.poll("r-0001").document["runs"][0]["stages"][0]["seen"], len(reads)) == (0, 2)
    watched.append(*RUNNING)()
    assert watcher.poll("r-0001").document["runs"][0]["sessions"]
    clock.sleep(7200.0)
    watcher.poll("r-0001")
    assert len(reads) == 4


def test_the_clock_of_a_live_session_goes_on_without_a_read(watched: Watched) -> None:
    clock, store = VirtualClock(), ReadOnlyStore(watched.place.home)
    watched.append(*RUNNING)()
    watcher = Watcher(lambda: store, lambda s: status_document(s, watched.place.home, clock.now(), "r-0001"), clock.now)
    before = watcher.poll("r-0001").document["runs"][0]["sessions"]
    clock.sleep(100.0)
    aged = watcher.poll("r-0001").document["runs"][0]["sessions"]
    assert aged != before
    assert aged == status_document(store, watched.place.home, clock.now(), "r-0001")["runs"][0]["sessions"]


@pytest.mark.parametrize(("took_s", "rests_s"), [(0.001, 10.0), (0.2, 40.0), (30.0, 60.0)])
def test_the_clocks_of_a_screen_that_takes_long_to_draw_go_on_less_often(
    watched: Watched, took_s: float, rests_s: float
) -> None:
    clock, store = VirtualClock(), ReadOnlyStore(watched.place.home)
    watched.append(*RUNNING)()
    watcher = Watcher(lambda: store, lambda s: status_document(s, watched.place.home, clock.now(), "r-0001"), clock.now)
    first = watcher.poll("r-0001")
    watcher.showed(took_s)
    clock.sleep(rests_s - 1.0)
    assert watcher.poll("r-0001") is first
    clock.sleep(1.0)
    assert watcher.poll("r-0001") is not first


def test_a_small_window_says_how_much_it_hides(watched: Watched) -> None:
    terminal = Console(file=watched.out, force_terminal=True, width=40, height=12, legacy_windows=False, _environ={})
    assert watched.watch(Script(watched.append(*RUNNING), lambda: None), console=terminal) == 0
    shown = watched.out.getvalue().rpartition("\x1b[?1049l")[0]
    screens = [screen for screen in shown.split("\x1b[H") if "r-0001" in screen]
    assert screens
    assert all(len(screen.splitlines()) <= 12 for screen in screens)
    assert re.search(r"\d+ more lines: enlarge the window", screens[-1]), "a session's lines do not fit as well"
