"""Forecasts that the daemon keeps are those that a view would compute, and are shown only as long as they hold."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.homes import finished_run, live_run
from orchestrator.app.app import App
from orchestrator.app.forecast_keeper import CHECK_S, FAILED_S, RESTS_OF_STEPS, ForecastKeeper
from orchestrator.app.settings import Settings
from orchestrator.app.web.list_source import ListSource
from orchestrator.base.clock import SystemClock, VirtualClock
from orchestrator.core.commands import Wait
from orchestrator.engine.tick import TickResult
from orchestrator.views.document import status_document
from orchestrator.views.monitor_document import monitor_document
from orchestrator.views.open_metrics import open_metrics
from orchestrator.views.open_run_forecast import CODE, KEPT_FOR, computed_forecast, holds, kept_forecasts
from orchestrator.views.overview import status_view
from orchestrator.views.run_choice import RunChoice
from state.facts.run import RunStarted, RunWaiting, RunWoken
from state.kept_forecasts import ForecastBasis, KeptForecast
from state.model.metrics import Metric
from state.model.poll_state import PollState
from state.model.snapshot import QuotaRow
from state.read_only import ReadOnlyStore
from state.store import Store
from tests.unit.test_views import drawn

AT = datetime(2030, 1, 7, tzinfo=UTC)
GOING_ON = ("live-0001", "live-0002", "live-0003", "live-0004")
QUOTA = QuotaRow(
    owner="me", accelerator="tpu", used_s=0.0, reserved_s=0.0, total_s=72_000.0, refreshes_at=None, read_at=AT
)
BEGUN = AT - timedelta(hours=4)


class OwnClock(SystemClock):
    """A clock that tests set."""

    def __init__(self, at: datetime) -> None:
        super().__init__()
        self.at = at

    def now(self) -> datetime:
        return self.at


class Desk:
    """A home folder, and what keeps its forecasts."""

    def __init__(self, home: Path) -> None:
        self.now = AT
        self.relay, self.time, self.said = App(Settings(home, {})), VirtualClock(), list[str]()
        self.relay.clock = self.clock = OwnClock(self.now)
        self.keeper = ForecastKeeper(self.relay, self.said.append, self.time.monotonic)
        self.keeper.renew()

    def later(self, seconds: float) -> None:
        """Let time go on, and the daemon go round once more without a tick."""
        self.clock.at += timedelta(seconds=seconds)
        self.time.sleep(seconds)
        self.keeper.renew()

    def document(self, **choice: Any) -> dict[str, Any]:
        reader = ReadOnlyStore(self.relay.home.path)
        return status_document(reader, self.relay.home.path, self.clock.at, choice=RunChoice(**choice))

    def computed_at(self) -> dict[str, str]:
        """When the forecast of each run was computed, as kept."""
        bases = self.relay.store.forecast_bases(CODE)
        return {of.run: of.kept.computed_at.isoformat() for of in bases if of.kept is not None}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with four runs that go on and one that is over, whose forecasts are kept."""
    home = tmp_path_factory.mktemp("runs")
    store = Store.at(home)
    finished_run(store, "over-0001", 1, AT - timedelta(days=9), 4)
    for name in GOING_ON:
        live_run(store, name, 1, BEGUN, 4, len(GOING_ON))
    Desk(home)
    return home


@pytest.fixture
def desk(runs: Path, tmp_path: Path) -> Desk:
    return Desk(shutil.copytree(runs, tmp_path / "home"))


def test_a_kept_forecast_is_the_computed_one_and_every_view_shows_it(desk: Desk) -> None:
    store, home = desk.relay.store, desk.relay.home.path
    kept = kept_forecasts(store, desk.now)
    assert tuple(kept) == GOING_ON
    for run in GOING_ON:
        assert kept[run] == computed_forecast(store, store.load(run), desk.now, home)
        assert kept[run]["forecast"]["computed_at"] == desk.now.isoformat()
    desk.clock.at += timedelta(seconds=20)
    ends = {run: part["forecast"]["finish_at"] for run, part in kept.items()}
    one_run = status_document(store, home, desk.clock.at, "live-0002")["runs"][0]
    listed = ListSource(desk.relay).document(desk.relay.reader)
    assert one_run["forecast"] == kept["live-0002"]["forecast"]
    told = open_metrics(monitor_document(desk.relay.reader, desk.clock.at))
    for run, end in ends.items():
        at = datetime.fromisoformat(end).timestamp()
        assert f'relay_run_finish_timestamp_seconds{{run="{run}"}} {at!r}\n' in told
    for runs in (desk.document()["runs"], desk.document(brief=True)["runs"]):
        assert {run["id"]: run["forecast"]["finish_at"] for run in runs if run["forecast"]} == ends
    assert {row["id"]: row["finish_at"] for row in listed["runs"] if row["finish_at"]} == ends


PART = {"forecast": {"finish_at": "2030-01-07T03:00:00+00:00", "session_ends_at": "2030-01-07T01:00:00+00:00"}}
KEPT = KeptForecast(AT, "facts", "1.1.1", {**PART, "forecast_problem": ""})
UNKNOWN = {"forecast": None, "forecast_problem": "no time is known of a step"}


@pytest.mark.parametrize(
    ("of", "after", "shown"),
    [
        (ForecastBasis("r", "facts", "1.1.1", KEPT), timedelta(), True),
        (ForecastBasis("r", "facts", "1.1.1", KEPT), KEPT_FOR, False),
        (ForecastBasis("r", "facts", "1.1.1", KEPT), timedelta(seconds=-1), False),
        (ForecastBasis("r", "facts", "1.1.9", KEPT), timedelta(minutes=1), True),
        (ForecastBasis("r", "other facts", "1.1.1", KEPT), timedelta(), False),
        (ForecastBasis("r", "facts", "1.1.1", None), timedelta(), False),
        (ForecastBasis("r", "facts", "", replace(KEPT, part=UNKNOWN)), timedelta(minutes=1), True),
    ],
    ids=["fresh", "old", "of the future", "new steps", "new facts", "none", "that there is none"],
)
def test_a_kept_forecast_is_shown_while_it_holds(of: ForecastBasis, after: timedelta, shown: bool) -> None:
    assert holds(of, AT + after) is shown


@pytest.mark.parametrize("overdue", ["finish_at", "session_ends_at"])
def test_a_kept_forecast_is_not_shown_once_what_it_expected_is_overdue(overdue: str) -> None:
    found = {"finish_at": None, "session_ends_at": None, overdue: "2030-01-07T00:05:00+00:00"}
    found["finish_at"] = found["finish_at"] or "2030-01-07T03:00:00+00:00"
    of = ForecastBasis("r", "facts", "", replace(KEPT, part={"forecast": found, "forecast_problem": ""}))
    assert holds(of, AT + timedelta(minutes=4, seconds=59))
    assert not holds(of, AT + timedelta(minutes=5))


def test_forecasts_are_computed_anew_after_new_facts_or_quota_and_when_they_have_aged(desk: Desk) -> None:
    store, first = desk.relay.store, desk.computed_at()
    desk.later(CHECK_S)
    assert desk.computed_at() == first, "nothing has changed"
    store.append("live-0001", [RunWaiting(until="2030-01-09T00:00:00+00:00", reason="hours")], desk.clock.at)
    desk.later(CHECK_S)
    assert [run for run, at in desk.computed_at().items() if at != first[run]] == ["live-0001"]
    store.write_quota(replace(QUOTA, read_at=desk.clock.at))
    second = desk.computed_at()
    desk.later(CHECK_S)
    assert all(at != second[run] for run, at in desk.computed_at().items())
    third = desk.computed_at()
    desk.later(KEPT_FOR.total_seconds() / 2 - 1)
    assert desk.computed_at() == third
    desk.later(CHECK_S)
    assert all(at != third[run] for run, at in desk.computed_at().items())
    store.append("live-0001", [RunWoken()], desk.clock.at)
    assert "live-0001" not in kept_forecasts(store, desk.clock.at), "until the daemon goes round again"


class CostlyClock(VirtualClock):
    """A clock on which every reading takes a second, as if the machine were busy."""

    def monotonic(self) -> float:
        self.sleep(1.0)
        return super().monotonic()


def test_new_steps_alone_have_a_forecast_computed_anew_only_so_often(desk: Desk) -> None:
    store, busy = desk.relay.store, CostlyClock()
    keeper = ForecastKeeper(desk.relay, desk.said.append, busy.monotonic)
    first = desk.computed_at()
    steps = [
        Metric(
            run="live-0001",
            session=2,
            attempt=1,
            number=n,
            stage="count",
            step=400 + n,
            name="done",
            value=n,
            at_s=9.0 * n,
        )
        for n in (1, 2)
    ]
    times = []
    for step in steps:
        desk.clock.at += timedelta(seconds=30)
        store.append("live-0001", [], desk.clock.at, metrics=[step], watch=PollState(polled_at=desk.clock.at))
        keeper.heard("live-0001", TickResult(Wait(None, "")))
        keeper.renew()
        times.append(desk.computed_at()["live-0001"])
    assert times[0] != first["live-0001"]
    assert times[1] == times[0], "it took a second a moment ago"
    store.append("live-0001", [RunWaiting(until="2030-01-09T00:00:00+00:00", reason="hours")], desk.clock.at)
    keeper.heard("live-0001", TickResult(Wait(None, "")))
    keeper.renew()
    assert desk.computed_at()["live-0001"] == times[0], "where facts follow each other quickly, they wait too"
    busy.sleep(RESTS_OF_STEPS * 5.0)
    keeper.renew()
    assert desk.computed_at()["live-0001"] == desk.clock.at.isoformat()


def test_a_list_computes_a_few_forecasts_and_says_that_many_are_missing(desk: Desk) -> None:
    desk.clock.at += KEPT_FOR
    listed = desk.document(brief=True)
    assert (listed["unforecast"], [run["forecast"] for run in listed["runs"]]) == (4, [None] * 5)
    assert "4 runs have no current forecast: relay status RUN computes it" in drawn(status_view(listed))
    few = desk.document(brief=True, pattern="live-000[12]")
    assert few["unforecast"] == 0
    assert [run["forecast"]["computed_at"] for run in few["runs"]] == [desk.clock.at.isoformat()] * 2


def test_a_damaged_run_keeps_no_new_forecast_and_harms_no_other(desk: Desk) -> None:
    with closing(sqlite3.connect(desk.relay.home.database)) as database, database:
        database.execute("UPDATE run SET pipeline = '{}' WHERE id = 'live-0002'")
        database.execute("UPDATE fact SET data = '{}' WHERE run = 'live-0003' AND name = 'session_planned'")
    desk.relay.store.write_quota(QUOTA)
    desk.later(CHECK_S)
    fresh = desk.clock.at.isoformat()
    assert {run for run, at in desk.computed_at().items() if at == fresh} == {"live-0001", "live-0004"}
    assert desk.said == [], "the run's own tick reports it"
    listed = desk.document(brief=True)
    assert {run["id"] for run in listed["damaged"]} == {"live-0002", "live-0003"}


def test_a_forecast_that_fails_is_reported_once_and_ends_no_daemon(desk: Desk) -> None:
    store = desk.relay.store
    odd = json.loads(store.load("live-0001").run.pipeline) | {"stages": []}
    started = next(fact for _, fact in store.facts("live-0001") if isinstance(fact, RunStarted))
    store.begin_run(replace(started, run="odd-0009", pipeline=json.dumps(odd)), desk.clock.at)
    for _ in range(3):
        desk.later(FAILED_S)
    (said,) = desk.said
    assert said.startswith("the end of odd-0009 cannot be forecast: ValidationError: ")
    store.write_quota(replace(QUOTA, read_at=desk.clock.at))
    desk.later(CHECK_S)
    assert desk.computed_at() == dict.fromkeys(GOING_ON, desk.clock.at.isoformat())
