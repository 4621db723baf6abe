"""`relay checkpoints`: what it shows, what it finds, what it brings back, and that it removes nothing itself."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from tests.contract.test_commands import relay

pytestmark = pytest.mark.slow  # real sessions, one after the other
ROOT = Path(__file__).parents[2]

PIPELINE = """
name: count
accelerator: TpuV5E8
keep_checkpoints: 2
session: {limit_s: 6, margin_s: 2, save_interval_s: 1}
stages:
  - {name: one, kind: counting, steps: 160, options: {step_s: 0.05}}
"""


@dataclass
class Finished:
    """A finished run in a home folder of its own, and the Kaggle that has its datasets."""

    home: Path
    kaggle: LocalKaggle

    def ask(self, *arguments: str, credentials: bool = True) -> subprocess.CompletedProcess[str]:
        """The command; its process."""
        return self.relay("checkpoints", "count", *arguments, credentials=credentials)

    def relay(self, *arguments: str, credentials: bool = True) -> subprocess.CompletedProcess[str]:
        """Any command, of this checkout, in a narrow terminal."""
        environ = {"COLUMNS": "80", "PYTHONPATH": str(ROOT), **(self.kaggle.environment() if credentials else {})}
        return relay(*arguments, home=self.home, environ=environ)

    def document(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("--json", *arguments).stdout)
        return found

    @property
    def newest(self) -> Path:
        """The newest checkpoint's folder on this disk."""
        (run,) = (self.home / "runs").iterdir()
        return max((run / "checkpoints").iterdir())

    def rot(self) -> None:
        """One bit of it turns over."""
        data = bytearray((self.newest / "state.bin").read_bytes())
        data[700] ^= 1
        (self.newest / "state.bin").write_bytes(data)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    root, clock = tmp_path_factory.mktemp("checkpoints"), SystemClock()
    (root / "count.yaml").write_text(PIPELINE, encoding="utf-8")
    with LocalKaggle(root / "k", clock, Rules.brisk(30.0), NO_FAULTS, ProcessSandbox(root / "k", clock)) as kaggle:
        made = Finished(root / "home", kaggle)
        done = made.relay("up", str(root / "count.yaml"))
        assert done.returncode == 0, done.stdout + done.stderr
        yield made


@pytest.fixture
def run(ran: Finished, tmp_path: Path) -> Finished:
    home = shutil.copytree(ran.home, tmp_path / "home")
    born = json.loads((home / "home.json").read_text(encoding="utf-8"))
    (home / "home.json").write_text(json.dumps(born | {"path": str(home.resolve())}), encoding="utf-8")  # it is no copy
    return Finished(tmp_path / "home", ran.kaggle)


def test_the_table_tells_each_checkpoint_within_80_columns(run: Finished) -> None:
    shown = run.ask(credentials=False)
    assert shown.returncode == 0
    assert all(len(line.rstrip()) <= 80 for line in shown.stdout.splitlines())
    newest = run.document()["checkpoints"][-1]
    for said in ("one:160", newest["digest"][:12], newest["parent"][:12], "published", "yes"):
        assert said in shown.stdout


def test_a_whole_run_verifies_and_says_what_was_compared(run: Finished) -> None:
    assert run.ask("--verify").returncode == 0
    told = run.document("--verify")
    assert (told["problems"], told["compared_with_kaggle"]) == ([], True)
    assert {c["here"] for c in told["checkpoints"] if c["status"] == "published"} == {"whole"}
    alone = run.ask("--verify", credentials=False)
    assert alone.returncode == 0
    assert "not compared with Kaggle" in alone.stdout


def test_a_damaged_copy_is_named_with_its_remedy_which_brings_it_back(run: Finished) -> None:
    before = (run.newest / "state.bin").read_bytes()
    run.rot()
    damaged = run.ask("--verify", credentials=False)
    assert damaged.returncode == 1
    remedy = f"relay checkpoints {run.newest.parents[1].name} --pull {run.newest.name}"
    assert "state.bin is not what was collected" in damaged.stdout
    assert remedy in damaged.stdout
    pulled = run.ask("--pull", run.newest.name)
    assert pulled.returncode == 0, pulled.stderr
    assert "brought back, every byte verified" in pulled.stderr
    assert (run.newest / "state.bin").read_bytes() == before
    (kept,) = (run.newest.parents[1] / "quarantine").iterdir()
    assert len(kept.read_bytes()) == len(before)


def test_all_missing_copies_are_brought_back_at_once(run: Finished) -> None:
    shutil.rmtree(run.newest.parent)
    assert {c["here"] for c in run.document()["checkpoints"]} == {"no"}
    assert run.ask("--verify").returncode == 1
    assert run.ask("--pull").returncode == 0
    told = run.document("--verify")
    assert told["problems"] == []


def test_what_cannot_be_pulled_is_said_in_one_sentence(run: Finished) -> None:
    unknown = run.ask("--pull", "c0099")
    assert unknown.returncode == 2
    assert "has no such checkpoint: its checkpoints are count-" in unknown.stderr
    run.rot()
    no_account = run.ask("--pull", credentials=False)
    assert no_account.returncode == 2
    assert "--pull needs the account that the run belongs to" in no_account.stderr


def test_pruning_is_asked_of_the_daemon_even_when_the_run_is_over(run: Finished) -> None:
    def published() -> list[str]:
        return [c["name"] for c in run.document()["checkpoints"] if c["status"] == "published"]

    before = published()
    assert run.ask("--prune").returncode == 0
    assert published() == before
    done = run.relay("daemon", "--once")
    assert done.returncode == 0, done.stderr
    assert published() == before[-2:], done.stdout + done.stderr
    assert len(before) > 2, "nothing was there to be removed"
