"""What a shell offers at TAB."""

import os
import pty
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from orchestrator.cli import main
from state import completions
from state.database import Database
from state.facts.run import RunCancelled
from state.model.statuses import Phase
from state.read_only import ReadOnlyStore
from state.store import Store
from tests.unit.test_machine import STARTED, path_to

ROOT = Path(__file__).parents[2]
AT = datetime(2030, 1, 7, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with a run that has a checkpoint, and a newer one that was cancelled."""
    home = tmp_path / "home"
    store = Store.at(home)
    store.begin_run(STARTED, AT)
    store.append("r-0001", path_to(Phase.PUBLISHED), AT)
    store.begin_run(replace(STARTED, run="gsm-3f9a", pipeline_name="gsm"), AT + timedelta(hours=1))
    store.append("gsm-3f9a", [RunCancelled()], AT)
    store.close()
    return home


def offered(*words: str) -> list[str]:
    """What is offered for the last of the words."""
    found = ShellComplete(main, {}, "relay", "_RELAY_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [item.value for item in found]


def test_commands_are_completed() -> None:
    assert offered("sta") == ["start", "status"]


@pytest.mark.parametrize("command", ["status", "logs", "resume", "artifacts", "checkpoints", "cancel"])
def test_runs_are_completed_the_newest_first(home: Path, command: str) -> None:
    assert offered("--home", str(home), command, "") == ["gsm-3f9a", "r-0001"]
    assert offered("--home", str(home), command, "gs") == ["gsm-3f9a"]


def test_sessions_steps_and_checkpoints_of_the_run_before_are_completed(home: Path) -> None:
    with_home = ("--home", str(home))
    assert offered(*with_home, "logs", "r-0001", "--session", "") == ["1"]
    assert offered(*with_home, "logs", "r", "--session", "") == ["1"], "a pipeline's name names its run"
    assert offered(*with_home, "resume", "r-0001", "--from-step", "") == ["40"]
    (checkpoint,) = ReadOnlyStore(home).load("r-0001").checkpoints
    assert offered(*with_home, "checkpoints", "r-0001", "--pull", "") == [checkpoint.name]
    assert offered(*with_home, "logs", "gsm-3f9a", "--session", "") == []


def test_relay_home_is_where_runs_are_looked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_HOME", str(home))
    assert offered("status", "") == ["gsm-3f9a", "r-0001"]


def test_nothing_is_offered_or_made_where_there_is_no_database_or_a_broken_one(tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert offered("--home", str(none), "status", "") == []
    assert not none.exists()
    (tmp_path / "relay.db").write_text("this is no database", encoding="utf-8")
    assert offered("--home", str(tmp_path), "status", "") == []
    assert offered("--home", str(tmp_path), "resume", "r", "--from-step", "") == []


def test_a_database_that_is_written_to_is_read_all_the_same(home: Path) -> None:
    with Database.writable(home / "relay.db").transaction():
        assert [run for run, _ in completions.runs(home / "relay.db")] == ["gsm-3f9a", "r-0001"]


def test_pipeline_files_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.yaml", "b.yml", "notes.txt", ".hidden.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert offered("start", "") == ["a.yaml", "b.yml", "more/"]
    assert offered("plan", "more/") == ["more/c.yaml"]
    assert offered("rehearse", "~/more/") == ["~/more/c.yaml"]
    assert offered("rehearse", "--faults", ".h") == [".hidden.yaml"]
    assert offered("start", "none/") == []


@pytest.mark.slow
def test_what_can_be_explained_is_completed() -> None:
    assert offered("explain", "gr")[0] == "grpo"
    assert offered("explain", "session.m") == ["session.margin_s", "session.min_session_s"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_relay(shell: str) -> None:
    told = CliRunner().invoke(main, ["completion", shell])
    assert told.exit_code == 0
    assert f"_RELAY_COMPLETE={shell}_complete" in told.stdout


def test_an_unknown_shell_is_refused_with_those_there_are() -> None:
    told = CliRunner().invoke(main, ["completion", "tcsh"])
    assert told.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in told.stderr


def test_completing_a_run_imports_nothing_slow(home: Path) -> None:
    program = (
        "import sys; from click.shell_completion import ShellComplete; from orchestrator.cli import main\n"
        "print(*(item.value for item in ShellComplete(main, {}, 'relay', 'X').get_completions(['status'], '')))\n"
        "print({'sqlalchemy', 'pydantic', 'rich', 'kaggle', 'yaml'} & set(sys.modules))"
    )
    environ = {**os.environ, "RELAY_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "gsm-3f9a r-0001\nset()\n"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_a_real_bash_completes_a_command_and_a_run(home: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "relay"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m orchestrator "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    environ = {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "RELAY_HOME": str(home)}
    environ |= {"TERM": "dumb", "PS1": "$ "}
    controller, terminal = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        env=environ, cwd=tmp_path, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    try:
        os.write(controller, b'eval "$(relay completion bash)"; relay() { echo "<$*>"; }; complete -p relay\n')
        _read_until(controller, b"_relay_completion relay")
        os.write(controller, b"relay stat\tgs\t\n")
        assert b"<status gsm-3f9a>" in _read_until(controller, b">")
    finally:
        shell.kill()
        shell.wait()
        os.close(controller)


def _read_until(terminal: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        seen += os.read(terminal, 4096)
    return seen
