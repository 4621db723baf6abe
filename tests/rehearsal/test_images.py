"""The local Kaggle rebuilds its image between two real sessions with JAX, and the second one refuses to train."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PIPELINE = """
name: image
accelerator: cpu
environment: []
exactness: strict
session: {limit_s: 120, margin_s: 20}
fork_points: [first]
stages:
  - {name: first, kind: "line:train", steps: 2}
  - {name: second, kind: "line:train", steps: 2}
"""

LINE = """
import jax.numpy as jnp

from stages.training.state_io import carry_on

def train(context):
    carry_on(context, {"sum": jnp.zeros(4)}, lambda state, step, seed: ({"sum": state["sum"] + step}, {"loss": 1.0}))
"""

FAULTS = """
images:
  - {session: 2, environment: {XLA_FLAGS: --xla_cpu_max_isa=AVX, NPROC: "1", RELAY_STAND_IN_LIBTPU: 0.0.42.1}}
"""


def relay(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", "--home", str(folder / "home"), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def rehearsed(folder: Path) -> dict[str, Any]:
    (folder / "image.yaml").write_text(PIPELINE, encoding="utf-8")
    (folder / "image.faults.yaml").write_text(FAULTS, encoding="utf-8")
    (folder / "line.py").write_text(LINE, encoding="utf-8")
    done = relay(folder, "rehearse", str(folder / "image.yaml"))
    told = relay(folder, "status", "--json")
    assert told.returncode == 0, done.stdout + done.stderr + told.stderr
    run: dict[str, Any] = json.loads(told.stdout)["runs"][0]
    assert run["checkpoints"], done.stdout + done.stderr
    return run


def test_with_strict_the_second_session_trains_nothing_and_the_run_is_parked(tmp_path: Path) -> None:
    run = rehearsed(tmp_path)
    assert run["state"] == "parked"
    assert "XLA_FLAGS --xla_cpu_max_isa none → AVX" in run["reason"]
    assert os.cpu_count() == 1 or "CPU threads" in run["reason"]
    assert "jaxlib " in run["numerics"]["newest"]["summary"]
    first, second = run["sessions"]
    assert (first["cause"], second["cause"]) == ("", "numerics-changed")
    assert second["furthest"] == second["from"]
    assert run["remedy"].startswith(f"relay retry {run['id']} --pipeline ")
