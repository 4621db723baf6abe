"""`relay cancel`: a question that says what happens, or --yes; who is not asked changes nothing."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import CliRunner, Result

from orchestrator.base.clock import SystemClock
from orchestrator.cli import main
from orchestrator.views.cancel_question import cancel_lines
from state.facts.run import RunCancelled, RunFinished
from state.model.statuses import Phase
from state.store import Store
from tests.unit.core.situations import HOUR, NOW, at, checkpoint, gained, session, state, step
from tests.unit.test_machine import path_to
from tests.unit.test_views import STARTED

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with one run, whose session runs."""
    now = SystemClock().now()
    store = Store.at(tmp_path / "home")
    store.begin_run(STARTED, now, later=[(now, fact) for fact in path_to(Phase.RUNNING)])
    return tmp_path / "home"


def relay(home: Path, *arguments: str) -> Result:
    """The command without a terminal."""
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def on_a_terminal(
    home: Path, typed: str, *arguments: str, environ: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, str]:
    """The command's exit status and all that its terminal showed, after this was typed."""
    ours, theirs = pty.openpty()
    environ = {**environ, "PATH": os.environ["PATH"], "HOME": str(home.parent)}
    environ |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    program = [sys.executable, "-m", "orchestrator", "--home", str(home), *arguments]
    with subprocess.Popen(program, cwd=home.parent, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        watch = threading.Timer(60, running.kill)  # a question too many would wait for ever
        watch.start()
        os.write(ours, typed.encode())
        shown = b""
        with suppress(OSError):  # how a terminal says that nobody is left on the other side
            while block := os.read(ours, 4096):
                shown += block
        status = running.wait()
        watch.cancel()
    os.close(ours)
    return status, shown.decode().replace("\r\n", "\n")


def asked(home: Path) -> list[str]:
    return [request.verb for request in Store.at(home).requests("r-0001")]


@pytest.mark.slow
def test_on_a_terminal_it_says_what_happens_and_asks_and_no_changes_nothing(home: Path) -> None:
    for answer in ("n\n", "\n", "\x04"):
        status, shown = on_a_terminal(home, answer, "cancel", "r-0001")
        assert status == 1, shown
        assert asked(home) == []
    assert "session r-0001-s0001 goes on until" in shown
    assert "relay resume r-0001 undoes it" in shown
    assert "Cancel r-0001? [y/N]" in shown
    status, shown = on_a_terminal(home, "y\n", "cancel", "r-0001")
    assert (status, asked(home)) == (0, ["cancel"]), shown
    status, shown = on_a_terminal(home, "", "cancel", "r-0001", "--yes")
    assert (status, asked(home)) == (0, ["cancel", "cancel"]), shown
    assert "?" not in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            (),
            "relay cancel r-0001 asks first, and there is no terminal to ask on: add --yes to cancel without asking",
        ),
        (("--json",), "relay cancel r-0001 --json cannot ask: add --yes to cancel without asking"),
    ],
)
def test_without_a_terminal_or_with_json_it_needs_yes_and_changes_nothing(
    home: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    refused = relay(home, "cancel", "r-0001", *arguments)
    assert (refused.exit_code, refused.stdout, refused.stderr) == (2, "", f"relay: {sentence}\n")
    assert asked(home) == []


def test_yes_asks_nothing(home: Path) -> None:
    assert relay(home, "cancel", "r-0001", "-y").exit_code == 0
    document = json.loads(relay(home, "cancel", "r-0001", "--yes", "--json").stdout)
    assert (document["verb"], asked(home)) == ("cancel", ["cancel", "cancel"])


@pytest.mark.parametrize("fact", [RunFinished(), RunCancelled()], ids=["finished", "cancelled"])
def test_a_run_that_is_over_is_refused_before_anybody_is_asked(home: Path, fact: RunFinished | RunCancelled) -> None:
    Store.at(home).append("r-0001", [fact], SystemClock().now())
    refused = relay(home, "cancel", "r-0001")
    over = fact.name.removeprefix("run_")
    sentence = f"relay: r-0001 is {over}: relay cancel is for a run that is active or waiting or parked\n"
    assert (refused.exit_code, refused.stderr) == (2, sentence)


def test_a_cancelled_run_shows_how_it_is_taken_back_and_that_it_was_asked_for(home: Path) -> None:
    Store.at(home).append("r-0001", [RunCancelled()], SystemClock().now())
    (run,) = json.loads(relay(home, "status", "--json").stdout)["runs"]
    assert run["to_do"]["message"] == (
        "nothing to do: it is cancelled, and its session goes on until it ends by itself; relay resume r-0001 undoes "
        "that"
    )
    resumed = relay(home, "resume", "r-0001")
    assert resumed.exit_code == 0, resumed.stderr
    (run,) = json.loads(relay(home, "status", "--json").stdout)["runs"]
    assert [request["verb"] for request in run["requests"]] == ["resume"]
    assert run["to_do"]["command"] == "relay daemon"


NO_SESSION = "no session runs on Kaggle, and none is started any more"
UNSTOPPABLE = "Kaggle has no call that stops it; its output is not collected"


@pytest.mark.parametrize(
    ("phase", "changes", "sentence"),
    [
        (Phase.PLANNED, {}, NO_SESSION),
        (Phase.LOST, {}, NO_SESSION),
        (
            Phase.PUSHING,
            {},
            "it is not clear yet whether Kaggle has session r-0001-s0001: if so, it runs for up to 2 h of this week's tpu "
            "quota",
        ),
        (
            Phase.QUEUED,
            {},
            "session r-0001-s0001 stays in Kaggle's queue and then runs for up to 2 h of this week's tpu quota: "
            f"{UNSTOPPABLE}",
        ),
        (Phase.ENDED, {}, "session r-0001-s0001 has ended, and its output stays on Kaggle, not collected"),
    ],
)
def test_the_question_says_what_becomes_of_the_session(phase: Phase, changes: dict[str, object], sentence: str) -> None:
    lines = cancel_lines(state(session(phase, limit_s=2 * HOUR, **changes)), NOW)
    assert lines == [
        "Cancelling r-0001:",
        f"  {sentence}",
        "  there is no checkpoint to keep yet (0 s on Kaggle's machines so far)",
        "  relay resume r-0001 undoes it for as long as its checkpoints exist",
    ]


def test_the_question_counts_the_hours_that_are_spent_and_still_to_be_spent() -> None:
    ran = gained(1, running_at=at(-5 * HOUR), ended_at=at(-3 * HOUR), limit_s=3 * HOUR)
    runs = session(Phase.RUNNING, number=2, running_at=at(-HOUR), limit_s=3 * HOUR)
    lines = cancel_lines(state(ran, runs, checkpoints=(checkpoint(1, step(50)),)), NOW)
    assert "goes on until" in lines[1]
    assert f"(in 2 h) at the latest, up to 2 h of this week's tpu quota: {UNSTOPPABLE}" in lines[1]
    assert lines[2] == "  1 checkpoint is kept, the newest at a step 50 (3 h on Kaggle's machines so far)"


def test_the_question_of_a_run_without_quota_names_none() -> None:
    known = state(session(Phase.QUEUED, limit_s=HOUR))
    free = replace(known, run=replace(known.run, accelerator="cpu"))
    assert f"then runs for up to 1 h: {UNSTOPPABLE}" in cancel_lines(free, NOW)[1]
