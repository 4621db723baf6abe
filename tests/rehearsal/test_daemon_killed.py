"""A real daemon, killed with SIGKILL at random moments while real sessions run: the run finishes as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clock import SystemClock
from orchestrator.rehearsal.faults import NO_FAULTS
from orchestrator.rehearsal.processes import ProcessSandbox
from orchestrator.rehearsal.rules import Rules
from orchestrator.rehearsal.server import LocalKaggle

COUNTING = """
name: count
accelerator: TpuV5E8
session: {limit_s: 4, margin_s: 1, save_interval_s: 1}
stages:
  - {name: one, kind: counting, steps: 40, options: {step_s: 0.05, payload_bytes: 200000}}
  - {name: two, kind: counting, steps: 80, options: {step_s: 0.05, payload_bytes: 200000}}
"""


class Laptop:
    """A home folder and the daemon on it, which can be killed and started again."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.home, self.log = folder / "home", folder / "daemon.log"
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
        self.pipeline = folder / "count.yaml"
        self.pipeline.write_text(COUNTING, encoding="utf-8")

    def relay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator", "--home", str(self.home), *arguments]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120, check=False)

    def daemon(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "orchestrator", "--home", str(self.home), "daemon"]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)

    @property
    def run(self) -> dict[str, Any]:
        told = self.relay("status", "--json")
        assert told.returncode == 0, told.stderr
        found: dict[str, Any] = json.loads(told.stdout)["runs"][0]
        return found


def finish(laptop: Laptop, seed: int | None, kills_max: int = 6, patience_s: float = 180.0) -> dict[str, Any]:
    """Run daemons until the run is over; with a seed each of the first few is killed at a random moment."""
    assert laptop.relay("start", str(laptop.pipeline)).returncode == 0
    chance, killed = random.Random(seed), 0
    until = time.monotonic() + patience_s
    daemon = laptop.daemon()
    try:
        while laptop.run["state"] not in ("finished", "parked"):
            assert time.monotonic() < until, laptop.log.read_text()
            assert daemon.poll() is None, laptop.log.read_text()
            if seed is not None and killed < kills_max:
                time.sleep(chance.uniform(0.2, 3.0))
                daemon.send_signal(signal.SIGKILL)
                daemon.wait()
                killed += 1
                daemon = laptop.daemon()
            else:
                time.sleep(0.5)
    finally:
        daemon.kill()
        daemon.wait()
    return laptop.run


def pushes(kaggle: LocalKaggle) -> dict[str, int]:
    """How often each kernel was started on Kaggle's side."""
    with kaggle.world.at_now():
        return {kernel.slug: len(kernel.versions) for kernel in kaggle.world.kernels.all()}


def one_run(folder: Path, seed: int | None) -> tuple[dict[str, Any], dict[str, int]]:
    folder.mkdir()
    clock = SystemClock()
    root = folder / "kaggle"
    with LocalKaggle(root, clock, Rules.brisk(30.0), NO_FAULTS, ProcessSandbox(root, clock)) as kaggle:
        return finish(Laptop(folder, kaggle.environment()), seed), pushes(kaggle)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_daemon_killed_at_random_moments_loses_nothing_and_runs_nothing_twice(tmp_path: Path, seed: int) -> None:
    quiet, _ = one_run(tmp_path / "quiet", None)
    disturbed, started = one_run(tmp_path / "disturbed", seed)
    assert quiet["state"] == disturbed["state"] == "finished", disturbed
    assert quiet["checkpoints"][-1]["contents"] == disturbed["checkpoints"][-1]["contents"]
    assert set(started.values()) == {1}, f"seed {seed}: {started}"
    assert len(started) == len(disturbed["sessions"])
