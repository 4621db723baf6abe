"""`--json`: every command that tells something has it, prints one documented document, and changes neither exit status nor errors."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmarks.homes import finished_run
from orchestrator.base.clock import SystemClock
from orchestrator.cli import main
from orchestrator.engine.backups import Backups
from orchestrator.engine.home import HomeLayout
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from stages.contract import Progress
from state.facts.run import RunParked
from state.store import Store
from tests.contract.local import AT_ONCE
from tests.unit.test_machine import AT
from tests.unit.test_views import STARTED

ROOT = Path(__file__).parents[2]
COUNTING = "{name: count, session: {limit_s: 60, margin_s: 5}, stages: [{name: one, kind: counting, steps: 4}]}"
CHANGED = "{name: r, accelerator: cpu, keep_checkpoints: 4, stages: [{name: count, kind: counting, steps: 80}]}"

TOLD_OTHERWISE = {
    "daemon": "a line a tick, for ever: --log-format json",
    "up": "a line a tick until it is over: --log-format json",
    "service": "relay service status --json",
    "environment": "relay environment publish --json",
    "schema": "it prints nothing but JSON",
    "completion": "it prints a script for a shell",
    "metrics": "--format jsonl prints an object for each step",
    "tensorboard": "it writes event files, and serves them for as long as it runs",
    "dashboard": "it serves pages for as long as it runs",
    "init": "it asks, and writes a file",
    "export": "the folder that it writes has export.json",
    "publish": "relay status --json lists what was published of a run",
    "notebook": "it writes a notebook, which is JSON",
    "writeup": "the folder that it writes has numbers.json",
}
"""Commands without --json, and why."""

CALLS: dict[str, list[str]] = {
    "status": [],
    "start": ["PIPELINE"],
    "fork": ["old-0001", "-o", "FORK"],
    "sweep": ["PIPELINE", "--set", "one.payload_bytes=8,16", "--yes"],
    "pause": ["r-0001"],
    "cancel": ["r-0001", "--yes"],
    "resume": ["r-0002"],
    "retry": ["r-0002"],
    "edit": ["r-0001", "--pipeline", "CHANGED", "--yes"],
    "artifacts": ["old-0001"],
    "report": ["old-0001", "--output", "OUTPUT"],
    "compare": ["old-0001", "r-0001"],
    "checkpoints": ["old-0001"],
    "logs": ["old-0001"],
    "adopt": [],
    "doctor": ["old-0001", "--offline"],
    "backup": [],
    "restore": [],
    "notify": [],
    "plan": ["PIPELINE"],
    "explain": ["grpo"],
    "check": ["PIPELINE", "--offline"],
    "rehearse": ["PIPELINE", "--simulate", "2"],
    "verify-resume": ["PIPELINE", "--cuts", "1"],
}
"""How each command that has it is called, in a home with an active, a parked and a finished run."""

CALLED_ELSEWHERE = {
    "ask": "tests/training/test_ask_command.py, with a model",
    "probe": "tests/contract/test_probe_command.py, with sessions that run",
}


class Place:
    """A home folder with three runs, and an account on a local Kaggle."""

    def __init__(self, root: Path, kaggle: LocalKaggle) -> None:
        self.home, self.pipeline, self._kaggle = root / "home", root / "count.yaml", kaggle
        self.pipeline.write_text(COUNTING, encoding="utf-8")
        self.changed = root / "changed.yaml"
        self.changed.write_text(CHANGED, encoding="utf-8")
        store = Store.at(self.home)
        store.begin_run(STARTED, AT)
        parked = RunParked(reason="it broke", remedy="relay retry r-0002")
        store.begin_run(_named(STARTED, "r-0002"), AT, later=[(AT, parked)])
        finished_run(store, "old-0001", 2, AT)
        Backups(HomeLayout(self.home)).make(AT)
        (logs := self.home / "runs" / "old-0001" / "logs").mkdir(parents=True)
        (logs / "old-0001-s0002.log").write_text("hello\n", encoding="utf-8")
        (artifacts := self.home / "runs" / "old-0001" / "artifacts").mkdir()
        (artifacts / "transcript.md").write_text("# asked\n", encoding="utf-8")

    def relay(self, *arguments: str) -> Result:
        places = {
            "PIPELINE": str(self.pipeline),
            "CHANGED": str(self.changed),
            "FORK": str(self.home.parent / "fork.yaml"),
            "OUTPUT": str(self.home.parent / "report.html"),
        }
        given = [places.get(argument, argument) for argument in arguments]
        return CliRunner().invoke(main, ["--home", str(self.home), *given], env=dict(self._kaggle.environment()))


def _named(started: Any, run: str) -> Any:
    return type(started).from_dict({**started.to_dict(), "run": run})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    sandbox = ScriptedSandbox(lambda *_: Played(ends_after_s=100.0))
    with LocalKaggle(tmp_path / "kaggle", SystemClock(), AT_ONCE, NO_FAULTS, sandbox) as kaggle:
        yield Place(tmp_path, kaggle)


def test_every_command_that_tells_something_has_json() -> None:
    having = {name for name, command in main.commands.items() if any(p.name == "as_json" for p in command.params)}
    assert having == {*CALLS, *CALLED_ELSEWHERE}, "say in CALLS how it is called"
    assert set(main.commands) - having == set(TOLD_OTHERWISE), "give it --json, or say in TOLD_OTHERWISE why not"


@pytest.mark.slow
@pytest.mark.parametrize("command", CALLS)
def test_it_prints_one_document_whose_keys_are_documented(place: Place, command: str) -> None:
    told = place.relay(command, *CALLS[command], "--json")
    assert told.exit_code == (1 if command == "doctor" else 0), told.stderr  # the checkpoints are not on this disk
    document = json.loads(told.stdout)
    assert document.get("format", 1) == 1
    if command in ("plan", "explain", "check", "doctor"):
        return  # it says what it says to people, whatever that is
    pages = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("json.md", "status.md"))
    assert sorted(key for key in document if f"`{key}`" not in pages) == []
    assert f"`relay {command}" in pages or command in ("resume", "retry", "edit", "cancel")


@pytest.mark.parametrize("command", ["pause", "status", "artifacts", "checkpoints", "logs"])
def test_an_error_stays_one_sentence_on_standard_error_and_the_exit_status_too(place: Place, command: str) -> None:
    plain, told = place.relay(command, "nobody"), place.relay(command, "nobody", "--json")
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr == plain.stderr
    assert re.fullmatch(r"relay: there is no run nobody: .*\n", told.stderr)


def test_a_request_says_whether_anybody_is_there_to_obey(place: Place) -> None:
    asked = json.loads(place.relay("pause", "r-0001", "--json").stdout)
    assert (asked["run"], asked["verb"], asked["command"]) == ("r-0001", "pause", "relay daemon")
    assert "no daemon is running here, so type: relay daemon" in place.relay("cancel", "r-0001", "--yes").stdout
    Store.at(place.home).take_lease("elsewhere", SystemClock().now(), 60)
    assert json.loads(place.relay("cancel", "r-0001", "--yes", "--json").stdout)["command"] is None
    (run,) = [r for r in json.loads(place.relay("status", "--json").stdout)["runs"] if r["id"] == "r-0001"]
    assert [request["verb"] for request in run["requests"]] == ["pause", "cancel", "cancel"]


def test_what_was_started_is_what_the_status_shows(place: Place) -> None:
    begun = json.loads(place.relay("start", "PIPELINE", "--json").stdout)
    told = json.loads(place.relay("status", begun["run"], "--json").stdout)["runs"][0]
    assert {key: told[key] for key in ("name", "owner", "state", "pipeline_digest")} == {
        key: begun[key] for key in ("name", "owner", "state", "pipeline_digest")
    }


def test_a_line_of_a_log_is_one_object_with_what_a_progress_event_says(place: Place) -> None:
    event = Progress(number=3, event="step", at_s=9.5, stage="count", step=4, target=8).line()
    path = place.home / "runs" / "old-0001" / "logs" / "old-0001-s0001.log"
    path.write_text(f"plain\n{event}\n", encoding="utf-8")
    told = place.relay("logs", "old-0001", "--session", "1", "--json")
    plain, progress = [json.loads(line) for line in told.stdout.splitlines()]
    assert (plain["session"], plain["line"], plain["text"], plain["event"]) == (1, 0, "plain", None)
    assert (progress["line"], progress["at_s"], progress["event"]["step"]) == (1, 9.5, 4)
    assert "count step 4/8" in place.relay("logs", "old-0001", "--session", "1").stdout


@pytest.mark.slow
def test_one_simulated_chain_is_told_with_its_story(place: Place) -> None:
    told = json.loads(place.relay("rehearse", "--simulate", "1", "--seed", "3", "--json").stdout)
    assert told["seed"] == 3
    assert told["broken"] == ""
    assert len(told["story"]) > 10


@pytest.mark.slow
def test_a_run_on_kaggle_that_this_home_lacks_is_listed_with_the_command(place: Place, tmp_path: Path) -> None:
    begun = json.loads(place.relay("start", "PIPELINE", "--json").stdout)["run"]
    assert place.relay("daemon", "--once").exit_code == 0
    place.home = tmp_path / "another"
    (found,) = json.loads(place.relay("adopt", "--json").stdout)["runs"]
    assert (found["run"], found["here"], found["command"]) == (begun, False, f"relay adopt {begun}")
    adopted = json.loads(place.relay("adopt", begun, "--json").stdout)
    assert (adopted["run"], adopted["state"], adopted["sessions"], adopted["command"]) == (
        begun,
        "active",
        1,
        "relay daemon",
    )


@pytest.mark.slow
def test_a_rehearsal_prints_nothing_but_its_status_document(place: Place, tmp_path: Path) -> None:
    place.home = tmp_path / "rehearsal"
    told = place.relay("rehearse", "PIPELINE", "--json")
    assert told.exit_code == 0
    (run,) = json.loads(told.stdout)["runs"]
    assert (run["state"], run["steps_done"]) == ("finished", 4)
    assert "session 1 runs" in told.stderr
