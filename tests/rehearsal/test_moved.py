"""A chain that goes on on a real Slurm and comes back to Kaggle, its daemon killed meanwhile, counts as one that stayed."""

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.rehearsal.laptop import Laptop, local_kaggle, pushes, stretched
from tests.slurm_cluster import ended_jobs, missing, slurm_cluster

pytestmark = pytest.mark.slow

STAGES = """
stages:
  - {name: one, kind: counting, steps: 30, options: {step_s: 0.1, payload_bytes: 200000}}
  - {name: two, kind: counting, steps: 40, options: {step_s: 0.1, payload_bytes: 200000}}
"""
ON_KAGGLE = f"name: count\naccelerator: cpu\nsession: {{limit_s: 5, margin_s: 1.5, save_interval_s: 0.5}}{STAGES}"
ON_SLURM = """name: count
accelerator: cpu
platform: slurm
slurm: {{shared: {shared}, python: {python}, signal_s: 0}}
session: {{limit_s: 60, margin_s: 57, save_interval_s: 0.5}}"""


def counted(stages: tuple[tuple[str, int], ...]) -> str:
    """The state of a count that was never cut, of seed 0."""
    state = hashlib.sha256(b"0").hexdigest()
    for stage, steps in stages:
        for step in range(1, steps + 1):
            state = hashlib.sha256(f"{state} 0 {stage} {step}".encode()).hexdigest()
    return state


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_chain_that_moves_to_slurm_and_back_counts_as_one_that_stayed(tmp_path: Path) -> None:
    with local_kaggle(tmp_path / "kaggle") as kaggle, slurm_cluster(tmp_path / "slurm") as cluster:
        laptop = Laptop(tmp_path, {**kaggle.environment(), **cluster}, ON_KAGGLE)
        there = tmp_path / "there.yaml"
        there.write_text(stretched(ON_SLURM.format(shared=tmp_path / "shared", python=sys.executable) + STAGES))
        try:
            carried_there_and_back(laptop, there)
        finally:
            laptop.off()
        run, started = laptop.run, pushes(kaggle)
        jobs = Counter(job["Name"] for job in ended_jobs(tmp_path / "slurm"))
    assert run["state"] == "finished", laptop.told
    assert [(move["from"], move["to"]) for move in run["moves"]] == [("kaggle", "slurm"), ("slurm", "kaggle")]
    on = {place: [s["slug"] for s in run["sessions"] if s["platform"] == place] for place in ("kaggle", "slurm")}
    assert on["slurm"]
    assert (started, jobs) == (Counter(on["kaggle"]), Counter(on["slurm"])), (
        "each session once, by each platform's records"
    )
    manifests = laptop.ask("SELECT manifest FROM checkpoint ORDER BY session, attempt")
    assert json.loads(manifests[-1][0])["digests"]["state"] == counted((("one", 30), ("two", 40)))
    assert "Traceback" not in laptop.told


def carried_there_and_back(laptop: Laptop, there: Path) -> None:
    """Hand the run over to the cluster, kill the daemon while the checkpoint is carried, and hand it back."""
    laptop.start()
    daemon = laptop.daemon()
    laptop.until(laptop.runs_a_session, daemon)
    ((name,),) = laptop.ask("SELECT id FROM run")
    told = laptop.relay("edit", name, "--pipeline", str(there), "--yes")
    assert "Session 1 is not affected" in told.stdout, told
    assert "every number stays the same" in told.stdout
    laptop.until(lambda: laptop.ask("SELECT 1 FROM fact WHERE name = 'platform_left'"), daemon)
    daemon.kill()
    daemon.wait()
    daemon = laptop.daemon()
    laptop.until(lambda: laptop.ask("SELECT 1 FROM session WHERE platform = 1 AND phase = 'running'"), daemon)
    told = laptop.relay("edit", name, "--pipeline", str(laptop.pipeline), "--yes")
    assert told.returncode == 0, told
    laptop.until(laptop.is_over, daemon)
