"""Real training through several sessions: killed in the middle of a step, stopped in time, and yet the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.rehearsal import machine_speed

PIPELINE = """
name: small
seed: 3
model: {kind: gemma2, source: relay/tiny-gemma2/flax/base/1, system: ""}
accelerator: TpuV5E8
session: {limit_s: LIMIT, margin_s: 12, save_interval_s: 3}
stages:
  - {name: sft, kind: sft, steps: 40, options: {data: [magpie], max_seq_length: 96, batch: 16}}
  - {name: grpo, kind: grpo, steps: 10, options: &learn {batch: 8, num_generations: 4, max_prompt_length: 64, max_completion_length: 28, rewards: {"paced:slowly": 1.0}}}
  - {name: curate, kind: curate, steps: 2, options: {batch: 8, max_prompt_length: 64, max_completion_length: 28}}
  - {name: hard, kind: continued, steps: 2, options: {<<: *learn, gradient_accumulation_steps: 2, rewards: {"paced:by_hash": 1.0}}}
"""

FAULTS = """
seed: 1
sessions:
  - {action: kill, stage: grpo, step: 3, within_s: 0.2}
"""

PACED = """
import time
import zlib

def slowly(prompts, completions, **columns):
    time.sleep(PAUSE_S)
    return by_hash(prompts, completions)

def by_hash(prompts, completions, **columns):
    return [zlib.crc32(text.encode()) % 16 / 16 for text in completions]
"""
"""A reward that takes its time, so that a session comes to the end of its own however quick or busy the machine is."""

LIMIT_S = 50
PAUSES_OF_A_LIMIT = 7
"""So many steps of GRPO with a pause take as long as a session: fewer than are left after the kill."""


def rehearse(folder: Path, limit_s: float, pause_s: float, faults: str, compiled: dict[str, str]) -> dict[str, Any]:
    """One rehearsal of the pipeline, as a user would start it."""
    folder.mkdir()
    pipeline = folder / "small.yaml"
    pipeline.write_text(PIPELINE.replace("LIMIT", f"{limit_s:.0f}"), encoding="utf-8")
    (folder / "paced.py").write_text(PACED.replace("PAUSE_S", f"{pause_s:.1f}"), encoding="utf-8")
    (folder / "small.faults.yaml").write_text(faults, encoding="utf-8")
    command = [sys.executable, "-m", "orchestrator", "--home", str(folder / "home")]
    done = subprocess.run(
        [*command, "rehearse", str(pipeline)],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **compiled},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = subprocess.run([*command, "status", "--json"], capture_output=True, text=True, check=True)
    run: dict[str, Any] = json.loads(told.stdout)["runs"][0]
    return run


@pytest.mark.slow
def test_a_chain_that_was_cut_and_killed_has_the_digests_of_one_uninterrupted_session(
    tmp_path: Path, compiled_programs: dict[str, str], quick_image: str
) -> None:
    quiet = rehearse(tmp_path / "quiet", 900, 0.0, quick_image, compiled_programs)  # nothing is compiled after it
    limit_s = max(LIMIT_S, machine_speed.STARTS_PER_SESSION * machine_speed.start_s())
    pause_s = limit_s / PAUSES_OF_A_LIMIT
    disturbed = rehearse(tmp_path / "disturbed", limit_s, pause_s, FAULTS + quick_image, compiled_programs)
    assert [session["outcome"] for session in quiet["sessions"]] == ["finished"]
    ends = [session["outcome"] for session in disturbed["sessions"]]
    assert {"yielded", "failed", "finished"} == set(ends), ends
    assert sum(session["steps_lost"] for session in disturbed["sessions"]) > 0
    assert disturbed["checkpoints"][-1]["contents"] == quiet["checkpoints"][-1]["contents"]
    at = {(c["stage"], c["step"]): c["contents"] for c in quiet["checkpoints"]}
    met = [c for c in disturbed["checkpoints"] if (c["stage"], c["step"]) in at]
    assert all(c["contents"] == at[c["stage"], c["step"]] for c in met)
