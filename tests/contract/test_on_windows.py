"""Commands of a laptop with Windows, played on this system: they work, or say in one sentence what cannot work there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.sandbox import ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle
from state.store import Store
from tests.contract.local import AT_ONCE, IDLES
from tests.simulation.pipelines import pipeline

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WORK = {
    "init": ["new", "init", "mine.yaml", "--yes", "--accelerator", "T4"],
    "start": ["new", "start", "counting"],
    "daemon": ["new", "daemon", "--once", "--log-file"],
    "status": ["new", "status"],
    "status of a run": ["new", "status", "counting"],
    "status of a finished run": ["done", "status", "sim-0001"],
    "logs": ["done", "logs", "sim-0001"],
    "report": ["done", "report", "sim-0001", "--output", "report.html"],
    "export": ["done", "export", "sim-0001"],
    "checkpoints": ["done", "checkpoints", "sim-0001"],
    "service show": ["new", "service", "show"],
    "doctor": ["new", "doctor"],
}
CANNOT = {
    "rehearse": (["other", "rehearse", "counting"], "a rehearsal with real processes needs Linux or macOS"),
    "serve": (["other", "rehearse", "--serve"], "a rehearsal with real processes needs Linux or macOS"),
    "memory": (["other", "plan", "gemma3_1b_t4", "--memory"], "relay plan --memory needs Linux or macOS"),
    "device": (["other", "init", "nul.yaml", "--yes"], "nul.yaml is the name of a device on Windows"),
    "stream": (["other", "init", "a:b.yaml", "--yes"], "'a:b.yaml' is not a name that Windows keeps"),
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, dict[str, Any]]]:
    """Status and output of each command, as this system and as Windows."""
    folder = tmp_path_factory.mktemp("played")
    chain = Chain(SimulatedKaggle(pipeline()), folder / "posix" / "done", store=Store.at(folder / "posix" / "done"))
    chain.drive()
    shutil.copytree(folder / "posix", folder / "windows")
    clock = SystemClock()
    commands = {"both": [*WORK.values()], "windows": [words for words, _ in CANNOT.values()]}
    with LocalKaggle(folder / "kaggle", clock, AT_ONCE, NO_FAULTS, ScriptedSandbox(lambda *_: IDLES)) as kaggle:
        done = subprocess.run(
            [sys.executable, "-m", "tests.contract.played_windows", str(folder)],
            input=json.dumps(commands),
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), **kaggle.environment()},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    names = {"posix": [*WORK], "windows": [*WORK, *CANNOT]}
    return {system: dict(zip(names[system], told[system], strict=True)) for system in names}


@pytest.mark.parametrize("name", WORK)
def test_what_a_laptop_needs_works_as_on_other_systems(
    played: Mapping[str, Mapping[str, dict[str, Any]]], name: str
) -> None:
    here, there = played["posix"][name], played["windows"][name]
    assert there["broken"] == here["broken"] == "", there["output"]
    assert there["status"] == here["status"], there["output"]
    assert bool(there["output"]) == bool(here["output"])


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_work_says_so_in_one_sentence(
    played: Mapping[str, Mapping[str, dict[str, Any]]], name: str
) -> None:
    there = played["windows"][name]
    assert (there["status"], there["broken"]) == (2, ""), there["output"]
    assert there["output"].startswith("relay: ")
    assert CANNOT[name][1] in there["output"]
    assert len(there["output"].strip().splitlines()) == 1


def test_a_daemon_of_another_system_is_still_seen(played: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    assert "open to other users" not in played["windows"]["doctor"]["output"], "Windows' modes say nothing of others"
    assert "<Command>" in played["windows"]["service show"]["output"]
