"""What differs on Windows and macOS: process ids, names, words of a shell, renames over open files, the service."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from xml.etree import ElementTree

import psutil
import pytest

from orchestrator.app.service.command import SYSTEMS
from orchestrator.app.service.systems import CompletedProgram, ScheduledTask
from orchestrator.app.service.units import MARK, Start, scheduled_task
from orchestrator.base import process_id
from orchestrator.base.disk import modes_for_others, replace_file
from orchestrator.base.errors import BadInput
from orchestrator.base.memory import free_memory_bytes
from orchestrator.base.systems import name_problem, require_posix, shell_line

NODE = platform.node()
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")


def test_a_process_is_known_by_its_start_with_and_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for _ in range(2):
            started = process_id._started(other.pid)
            assert started.isdigit()
            assert process_id.is_alive(f"{NODE}/{other.pid}/{started}") is True
            assert process_id.is_alive(f"{NODE}/{other.pid}/") is True, "written where no start was known"
            assert process_id.is_alive(f"{NODE}/{other.pid}/1{started}") is False, "its number was used again"
            assert process_id.is_alive(f"elsewhere/{other.pid}/{started}") is None
            monkeypatch.setattr(process_id, "Path", lambda _: Path("/no such file"))
        other.communicate(b"\n")
    assert process_id.is_alive(f"{NODE}/{other.pid}/{started}") is False


def test_free_memory_is_known_without_proc(tmp_path: Path) -> None:
    assert 0 < free_memory_bytes(tmp_path / "none", tmp_path / "none") <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("con", True), ("NUL.yaml", True), ("com1.txt", True), ("lpt9", True), ("aux.tar.gz", True),
        ("mine.", True), ("mine ", True), ("a:b.yaml", True), ("what?.yaml", True), ("a|b", True),
        ("console.yaml", False), ("mine.yaml", False), ("com.yaml", False), (".hidden", False), ("ümläut.yaml", False),
    ],
)  # fmt: skip
def test_names_that_windows_does_not_keep_are_refused_there(
    name: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert name_problem(Path(name)) == ""
    monkeypatch.setattr(sys, "platform", "win32")
    assert bool(name_problem(Path(name))) == refused


@pytest.mark.parametrize("word", ["plain.yaml", "with space.yaml", r"C:\Users\me\a b.yaml", "it's.yaml"])
def test_a_printed_command_can_be_typed(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shlex.split(shell_line(["relay", "check", word])) == ["relay", "check", word]
    monkeypatch.setattr(sys, "platform", "win32")
    typed = shell_line(["relay", "check", word])
    assert "'" not in typed.replace(word, ""), "Windows' shells keep such quotes"
    assert typed.endswith(f'"{word}"' if " " in word else word)


@pytest.mark.usefixtures("windows")
def test_a_file_that_is_open_elsewhere_is_replaced_as_soon_as_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.base.disk.REPLACE_WAIT_S", 0.0)
    refusals, real = [PermissionError(13, "in use")] * 3, Path.replace

    def replace(self: Path, target: Path) -> Path:
        if refusals:
            raise refusals.pop()
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    replace_file(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"
    refusals[:] = [PermissionError(13, "in use")] * 99
    with pytest.raises(PermissionError):
        replace_file(tmp_path / "old", tmp_path / "other")


@pytest.mark.usefixtures("windows")
def test_modes_say_nothing_of_others_on_windows(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert modes_for_others(tmp_path) == 0
    with pytest.raises(BadInput, match=r"^this needs Linux or macOS \(on Windows: WSL\): do that$"):
        require_posix("this", "do that")


def start(folder: Path, **environ: str) -> Start:
    return Start(folder / "Scripts" / "python.exe", folder / "a & b" / "home", None, environ)


def test_a_task_holds_any_path_and_starts_a_daemon_without_a_window(tmp_path: Path) -> None:
    (tmp_path / "Scripts").mkdir()
    (tmp_path / "Scripts" / "pythonw.exe").touch()
    made = scheduled_task(start(tmp_path))
    assert made.startswith(b"\xff\xfe"), "schtasks reads UTF-16 everywhere"
    action = ElementTree.fromstring(made.decode("utf-16").partition("?>")[2]).find(f".//{TASK}Exec")
    assert action is not None
    assert action.findtext(f"{TASK}Command") == str(tmp_path / "Scripts" / "pythonw.exe")
    home = tmp_path / "a & b" / "home"
    assert action.findtext(f"{TASK}Arguments") == f'-m orchestrator --home "{home}" daemon --log-file'
    assert MARK in made.decode("utf-16")


class Scheduler:
    """Task Scheduler of a user: notes what it is asked, and knows whether the task exists and runs."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.exists = self.runs = False

    def __call__(self, command: Sequence[str]) -> CompletedProgram:
        self.asked.append(f"{PureWindowsPath(command[0]).name} {command[1]}")
        match command[1]:
            case "/Query":
                return CompletedProgram(0 if self.exists else 1, "")
            case "-NoProfile":
                return CompletedProgram(0, "Running" if self.runs else "Ready")
            case "/Create":
                self.exists = True
            case "/Run":
                self.runs = True
            case "/End" if not self.runs:
                return CompletedProgram(1, "it does not run")
            case "/End":
                self.runs = False
            case "/Delete":
                self.exists = False
        return CompletedProgram(0, "")


def test_the_task_is_made_run_ended_and_deleted(tmp_path: Path) -> None:
    scheduler = Scheduler()
    task = ScheduledTask({"LOCALAPPDATA": str(tmp_path)}, tmp_path, scheduler)
    assert task.path == tmp_path / "relay" / "relay-daemon.xml"
    for command in task.start_commands(changed=True):
        scheduler(command)
    assert task.is_running()
    assert [line for line in scheduler.asked if "/Q" not in line][:2] == ["schtasks /Create", "schtasks /Run"]
    assert [command[1] for command in task.start_commands(changed=False)] == ["/Run"]
    assert [command[1] for command in task.stop_commands()] == ["/End", "/Delete"]
    scheduler.runs = False
    assert [command[1] for command in task.stop_commands()] == ["/Delete"], "/End fails for a task that does not run"
    assert task.lacking(start(tmp_path, HTTPS_PROXY="http://p:1")) == [
        "a task of Windows has no variables of its own: for HTTPS_PROXY, type setx HTTPS_PROXY http://p:1"
    ]
    task.path.parent.mkdir()
    task.path.write_bytes(task.content(start(tmp_path)))
    assert task.is_written_by_relay
    assert set(SYSTEMS) == {"systemd", "launchd", "schtasks"}
    assert os.sep in str(task.path)
