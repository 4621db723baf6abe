"""The list of runs shows the ones that are asked for, in the order that is asked for, and each thing to do once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmarks.homes import finished_run, live_run
from orchestrator.base.errors import BadInput
from orchestrator.cli import main
from orchestrator.views.document import status_document
from orchestrator.views.run_choice import RunChoice, in_order, is_pattern, time_since
from state.facts.run import RunCancelled, RunParked
from state.store import Store

NOW = datetime(2027, 1, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five runs: one parked, two active, one finished, one cancelled."""
    folder = tmp_path_factory.mktemp("home")
    store = Store.at(folder)
    finished_run(store, "gsm-0001", 3, NOW - 9 * DAY, 1)
    live_run(store, "gsm-0002", 1, NOW - timedelta(hours=2), 1)
    live_run(store, "poems-0003", 2, NOW - timedelta(hours=5), 1)
    live_run(store, "poems-0004", 1, NOW - timedelta(hours=5), 1)
    store.append("poems-0004", [RunParked(reason="it broke", remedy="relay retry poems-0004")], NOW)
    live_run(store, "old-0005", 1, NOW - 20 * DAY, 1)
    store.append("old-0005", [RunCancelled()], NOW - 19 * DAY)
    return folder


def listed(home: Path, choice: RunChoice) -> list[str]:
    document = status_document(Store.at(home), home, NOW, alive=lambda _holder: True, choice=choice)
    return [run["id"] for run in document["runs"]]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (RunChoice(), ["gsm-0001", "gsm-0002", "old-0005", "poems-0003", "poems-0004"]),
        (RunChoice(pattern="gsm*"), ["gsm-0001", "gsm-0002"]),
        (RunChoice(pattern="*-000[34]"), ["poems-0003", "poems-0004"]),
        (RunChoice(pattern="poems"), ["poems-0003", "poems-0004"]),
        (RunChoice(pattern="nothing*"), []),
        (RunChoice(states=("active", "parked")), ["gsm-0002", "poems-0003", "poems-0004"]),
        (RunChoice(states=("cancelled",)), ["old-0005"]),
        (RunChoice(since=NOW - DAY), ["gsm-0002", "poems-0003", "poems-0004"]),
        (RunChoice(pattern="poems*", states=("parked",)), ["poems-0004"]),
        (RunChoice(pattern="*", most=1), ["poems-0004"]),
        (RunChoice(states=("finished", "cancelled", "active"), most=2), ["gsm-0002", "poems-0003"]),
    ],
)
def test_the_runs_that_are_asked_for_are_listed(home: Path, choice: RunChoice, expected: list[str]) -> None:
    assert sorted(listed(home, choice)) == expected


def run(name: str, state: str, *, command: str | None = None, done: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "state": state,
        "created_at": f"2027-01-0{more.get('day', 1)}",
        "to_do": {"command": command},
        "forecast": None if done is None else {"finish_at": f"2027-01-{done}T00:00:00+00:00"},
        "sessions": [{"seconds": seconds} for seconds in more.get("seconds", ())],
        "steps_done": more.get("steps", 0),
        "steps_total": 10,
    }


RUNS = [
    run("a", "finished", day=1, steps=10, seconds=(10.0, None)),
    run("b", "active", day=2, done="20", steps=4, seconds=(5.0, 7.0)),
    run("c", "active", day=3, command="relay daemon", done="19", steps=5),
    run("d", "parked", day=4, command="relay retry d", steps=1, seconds=(1.0,)),
    run("e", "waiting", day=5, done="30"),
]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("attention", "dceba"),
        ("name", "abcde"),
        ("age", "edcba"),
        ("progress", "acbde"),
        ("hours", "badec"),
        ("done", "cbeda"),
    ],
)
def test_a_list_has_the_order_that_is_asked_for(by: str, expected: str) -> None:
    assert "".join(each["id"] for each in in_order(RUNS, by)) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("12h", NOW - timedelta(hours=12)),
        ("3d", NOW - 3 * DAY),
        ("2w", NOW - 14 * DAY),
        ("2027-01-09", datetime(2027, 1, 9, tzinfo=UTC)),
        ("2027-01-09T08:00+02:00", datetime(2027, 1, 9, 6, tzinfo=UTC)),
    ],
)
def test_an_age_or_a_date_says_since_when(given: str, expected: datetime) -> None:
    assert time_since(given, NOW) == expected


@pytest.mark.parametrize("given", ["", "3", "3m", "yesterday", "-3d", "99999d"])
def test_another_age_is_refused_with_what_to_write(given: str) -> None:
    with pytest.raises(BadInput, match="such as 12h, 3d or 2w, or a date such as 2027-01-09"):
        time_since(given, NOW)


@pytest.mark.parametrize(
    ("name", "expected"), [("gsm-*", True), ("gsm-000?", True), ("[ab]", True), ("gsm-0001", False)]
)
def test_a_pattern_is_told_from_a_name(name: str, expected: bool) -> None:
    assert is_pattern(name) is expected


def relay_status(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), "status", *arguments])


def test_what_has_to_be_done_about_several_runs_is_said_once(home: Path) -> None:
    text = relay_status(home).output
    assert text.count("no daemon is running") == 1
    assert "poems-0003, gsm-0002: no daemon is running" in text or "gsm-0002, poems-0003: no daemon is running" in text
    assert "poems-0004: it broke; type: relay retry poems-0004" in text
    assert text.index("poems-0004") < text.index("gsm-0002") < text.index("gsm-0001")


def test_a_pattern_and_options_choose_on_the_command_line(home: Path) -> None:
    text = relay_status(home, "gsm-*", "--sort", "name").output
    assert [line.split()[0] for line in text.splitlines()[1:3]] == ["gsm-0001", "gsm-0002"]
    assert "poems" not in text
    assert "No runs" not in relay_status(home, "--state", "parked").output
    assert "no run matches" in relay_status(home, "--state", "waiting").output


@pytest.mark.parametrize("option", [("--all",), ("--state", "active"), ("--since", "3d"), ("--sort", "age")])
def test_options_of_a_list_are_refused_with_one_run(home: Path, option: tuple[str, ...]) -> None:
    refused = relay_status(home, "gsm-0001", *option)
    assert refused.exit_code == 2
    assert f"{option[0]} chooses among several runs" in refused.output


def test_a_choice_without_a_filter_takes_every_run() -> None:
    assert not RunChoice(most=3).filters
    assert replace(RunChoice(), pattern="*").filters
