"""`relay rehearse --differs`: real sessions on a Kaggle that differs, and what the command says of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import main
from tests.rehearsal.laptop import PATIENCE_S

ROOT = Path(__file__).parents[2]
COUNTING = """
name: small
accelerator: TpuV5E8
session: {limit_s: 20, margin_s: 5, save_interval_s: 0.2}
stages:
  - {name: one, kind: counting, steps: 60, options: {step_s: 0.02}}
"""
KILLED = "sessions: [{session: 1, action: kill, stage: one, step: 40}]\ndiffers: [internet]\n"
"""The first session dies after some checkpoints; the plan adds a difference to those of the command line."""
LONELY = """
name: lonely
accelerator: TpuV5E8
session: {limit_s: 60, margin_s: 10, save_interval_s: 10, attempts: 1}
environment: []
stages:
  - {name: one, kind: "own:train", steps: 3}
"""
OWN = '''"""A stage that needs JAX."""

import jax


def train(context):
    raise AssertionError(jax.devices())
'''


def rehearsed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator", "--home", str(folder / "home"), "rehearse", *arguments]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.mark.slow
def test_real_sessions_find_their_checkpoint_wherever_it_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(COUNTING, encoding="utf-8")
    (tmp_path / "small.faults.yaml").write_text(KILLED, encoding="utf-8")
    done = rehearsed(tmp_path, "small.yaml", "--json", "--differs", "mount-layout")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["state"] == "finished"
    assert len(run["sessions"]) > 1
    assert "this Kaggle differs from internet: a session does not reach the internet" in done.stderr
    assert (
        "this Kaggle differs from mount-layout: inputs are mounted three folders below the usual place" in done.stderr
    )
    mounted = (tmp_path / "home" / "kaggle").rglob("input/elsewhere/rehearsal/of/*")
    assert [path.name for path in mounted if path.is_dir()]


@pytest.mark.slow
def test_real_sessions_without_the_accelerator_end_at_once_and_park_the_run(tmp_path: Path) -> None:
    (tmp_path / "lonely.yaml").write_text(LONELY, encoding="utf-8")
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    done = rehearsed(tmp_path, "lonely.yaml", "--json", "--differs", "accelerator-devices")
    assert done.returncode == 1, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["state"] == "parked"
    assert "8 tpu promised" in run["reason"]
    assert run["remedy"].startswith("relay retry")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--differs", "mount-layut"), "did you mean 'mount-layout'?"),
        (("--serve", "--differs", "mount-layut"), "did you mean 'mount-layout'?"),
        (("--differs", "mount-layout", "--simulate", "3"), "--simulate and --differs do not go together"),
    ],
)
def test_a_difference_that_does_not_exist_is_refused_and_nothing_is_created(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(COUNTING, encoding="utf-8")
    refused = CliRunner().invoke(main, ["rehearse", "small.yaml", *arguments])
    assert refused.exit_code == 2
    assert said in refused.output
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]
