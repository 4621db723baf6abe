"""Views read the rows first and then the clock: nothing that they show lies in the future, and no duration is negative."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.app.app import App
from orchestrator.app.dashboard import Dashboard
from orchestrator.app.settings import Settings
from orchestrator.base.clock import SystemClock
from orchestrator.cli.status import ListOptions, show_status
from state.facts.session import SeenRunning
from state.store import Store
from tests.unit.histories import AT, Told

PAST = ("created_at", "updated_at", "planned_at", "pushed_at", "running_at", "ended_at", "read_at")


class DisturbedClock(SystemClock):
    """A clock after whose first reading the daemon writes, five seconds later, that the session has begun."""

    def __init__(self, store: Store, told: Told) -> None:
        super().__init__()
        self._store, self._told, self.written = store, told, False

    def now(self) -> datetime:
        if self.written:
            return self._told.now + timedelta(seconds=11)
        self.written = True
        self._store.append(self._told.run, [SeenRunning(**self._told.key)], self._told.now + timedelta(seconds=6))
        return self._told.now + timedelta(seconds=1)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[App]:
    """A home folder with one run, whose session begins as soon as the clock is read."""
    told = Told(run="live-0005")
    told.running()
    told.past = [(at, fact) for at, fact in told.past if not isinstance(fact, SeenRunning)]
    store = Store.at(tmp_path)
    store.begin_run(told.started(), AT, later=told.past)
    relay = App(Settings(tmp_path, {}))
    relay.clock = DisturbedClock(store, told)
    yield relay
    assert relay.clock.written


def future(document: Any, at: str) -> list[str]:
    """The times of a document that lie behind `at`, of what has happened."""
    if isinstance(document, list):
        return [found for each in document for found in future(each, at)]
    if not isinstance(document, dict):
        return []
    here = [f"{key} {document[key]}" for key in PAST if (document.get(key) or "") > at]
    return here + [found for each in document.values() for found in future(each, at)]


def _printed(relay: App, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    show_status(relay, None, True, ListOptions())
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


READINGS: dict[str, Callable[[App], dict[str, Any]]] = {
    "the dashboard's list": lambda relay: Dashboard(relay)._list(),
    "a run's page": lambda relay: Dashboard(relay)._history("live-0005"),
    "the metrics": lambda relay: dict(Dashboard(relay)._status()),
}


@pytest.mark.parametrize("reading", READINGS)
def test_nothing_is_shown_that_happened_after_the_clock_was_read(relay: App, reading: str) -> None:
    document = READINGS[reading](relay)
    assert future(document, document["at"]) == []


def test_the_status_as_json_shows_nothing_that_happened_after_its_clock(
    relay: App, capsys: pytest.CaptureFixture[str]
) -> None:
    show_status(relay, None, True, ListOptions())
    document = json.loads(capsys.readouterr().out)
    assert future(document, document["at"]) == []
