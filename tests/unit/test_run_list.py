"""The list of runs: the facts of `relay status`, read from few rows, in any order, and small."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.views.document import status_document
from orchestrator.views.monitor_document import monitor_document
from orchestrator.views.overview import session_cell
from orchestrator.views.pages import working
from orchestrator.views.run_choice import hours_used_s, in_order
from orchestrator.views.run_list import arranged, chosen_rows, list_document
from orchestrator.views.tables import current_stage
from state.failures import RunDamaged
from state.model.poll_state import PollState
from state.store import Store
from tests.unit.histories import AT, Told
from tests.unit.several_runs import several

NOW = AT + timedelta(days=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Runs in four states, and a live one."""
    store = several(tmp_path_factory.mktemp("list"))
    live = Told(run="live-0005")
    live.session(40)
    live.running()
    store.begin_run(live.started(), AT, later=live.past, metrics=live.metrics)
    store.append(live.run, [], live.now, watch=PollState(polled_at=live.now, seconds={"train": 70.0}))
    yield store
    store.close()


def document(store: Store, **known: Any) -> dict[str, Any]:
    return list_document(store, Path("home"), NOW, [], known)


def test_a_row_says_what_relay_status_says_of_the_run(store: Store) -> None:
    told = status_document(store, Path("home"), NOW)
    rows = document(store)["runs"]
    assert [row["id"] for row in rows] == [run["id"] for run in in_order(told["runs"], "attention")]
    for run in told["runs"]:
        row = next(row for row in rows if row["id"] == run["id"])
        same = ("state", "accelerator", "created_at", "updated_at", "steps_done", "steps_total", "to_do", "reason")
        assert {name: row[name] for name in same} == {name: run[name] for name in same}
        stages = [
            {name: stage[name] for name in ("name", "seen", "target")} for stage in (row["stage"], current_stage(run))
        ]
        assert stages[0] == stages[1], run["id"]
        assert row["session"] == session_cell(run)
        assert row["used_s"] == pytest.approx(hours_used_s(run), abs=0.01)


def test_monitors_read_the_numbers_of_relay_status(store: Store) -> None:
    told = {run["id"]: run for run in status_document(store, Path("home"), NOW)["runs"]}
    found = monitor_document(store, NOW)
    assert [run["id"] for run in found["runs"]] == [*told]
    for run in found["runs"]:
        whole = told[run["id"]]
        assert run["totals"].sessions == len(whole["sessions"])
        assert run["totals"].failed == sum(s["outcome"] in ("failed", "lost") for s in whole["sessions"])
        assert run["totals"].damage == len(whole["damage"])
        assert hours_used_s(run) == pytest.approx(hours_used_s(whole), abs=0.01)
        same = ("state", "stages", "steps_done", "steps_total", "failures", "to_do")
        assert {name: run[name] for name in same} == {name: whole[name] for name in same}
        assert run["sessions"] == whole["sessions"][-1:]


def test_a_forecast_is_shown_only_while_the_run_goes_on_by_itself(store: Store) -> None:
    at = "2030-02-01T00:00:00+00:00"
    shown = {row["id"]: row["finish_at"] for row in document(store, **{"live-0005": at, "broke-0003": at})["runs"]}
    assert (shown["live-0005"], shown["broke-0003"], shown["tiny-0001"]) == (at, None, None)


def test_a_run_whose_log_was_found_damaged_is_listed_apart(store: Store) -> None:
    found = document(store, **{"live-0005": RunDamaged("live-0005", "fact 7 is gone")})
    assert [run["id"] for run in found["damaged"]] == ["live-0005"]
    assert "live-0005" not in [run["id"] for run in found["runs"]]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, ["broke-0003", "live-0005", "waits-0002", "young-0004", "tiny-0001"]),
        ({"sort": "run"}, ["broke-0003", "live-0005", "tiny-0001", "waits-0002", "young-0004"]),
        ({"sort": "progress"}, ["tiny-0001", "waits-0002", "broke-0003", "live-0005", "young-0004"]),
        ({"pattern": "*-000[25]"}, ["live-0005", "waits-0002"]),
        ({"pattern": "ITS-00"}, ["waits-0002"]),
        ({"state": "parked"}, ["broke-0003"]),
        ({"state": "nonsense", "sort": "nonsense", "pattern": "none such"}, []),
    ],
)
def test_rows_are_chosen_and_ordered_by_the_address(store: Store, query: dict[str, str], ids: list[str]) -> None:
    found = [row["id"] for row in arranged(document(store), chosen_rows(query))["runs"]]
    if "state" not in query and not query.get("sort"):  # equally urgent ones of the same moment, in any order
        assert sorted(found) == sorted(ids)
        assert found[:1] == ids[:1] or "pattern" in query
    else:
        assert found == ids


def test_a_hundred_runs_take_less_than_a_megabyte(store: Store) -> None:
    found = document(store, **{"live-0005": "2030-02-01T00:00:00+00:00"})
    section = working.list_section({**found, "runs": found["runs"] * 20})
    assert section.count("<tr") == 101
    assert len(section.encode()) < 400_000


def test_the_mark_of_the_list_changes_with_facts_requests_and_polls(store: Store) -> None:
    marks = [store.change_mark()]
    store.append("live-0005", [], NOW, watch=PollState(polled_at=NOW, log_lines=3))
    marks.append(store.change_mark())
    store.request("live-0005", "pause", {"by": "dashboard"}, NOW)
    marks.append(store.change_mark())
    assert len(set(marks)) == 3
