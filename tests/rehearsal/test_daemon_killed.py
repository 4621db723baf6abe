"""A real daemon, killed with SIGKILL at random moments while real sessions run: the run finishes as if nothing had happened."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.laptop import Laptop, local_kaggle, pushes

COUNTING = """
name: count
accelerator: TpuV5E8
session: {limit_s: 4, margin_s: 1, save_interval_s: 1}
stages:
  - {name: one, kind: counting, steps: 40, options: {step_s: 0.05, payload_bytes: 200000}}
  - {name: two, kind: counting, steps: 80, options: {step_s: 0.05, payload_bytes: 200000}}
"""


def finish(laptop: Laptop, seed: int | None, kills_max: int = 6, patience_s: float = 180.0) -> dict[str, Any]:
    """Run daemons until the run is over; with a seed each of the first few is killed at a random moment."""
    laptop.start()
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


def one_run(folder: Path, seed: int | None) -> tuple[dict[str, Any], dict[str, int]]:
    folder.mkdir()
    with local_kaggle(folder / "kaggle") as kaggle:
        return finish(Laptop(folder, kaggle.environment(), COUNTING), seed), pushes(kaggle)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_daemon_killed_at_random_moments_loses_nothing_and_runs_nothing_twice(tmp_path: Path, seed: int) -> None:
    quiet, _ = one_run(tmp_path / "quiet", None)
    disturbed, started = one_run(tmp_path / "disturbed", seed)
    assert quiet["state"] == disturbed["state"] == "finished", disturbed
    assert quiet["checkpoints"][-1]["contents"] == disturbed["checkpoints"][-1]["contents"]
    assert set(started.values()) == {1}, f"seed {seed}: {started}"
    assert len(started) == len(disturbed["sessions"])
