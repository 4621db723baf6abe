"""Real training through many sessions: stopped in time, hung, killed in the middle of a step, and yet the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PIPELINE = """
name: small
seed: 3
model: {kind: gemma2, source: relay/tiny-gemma2/flax/base/1, system: ""}
accelerator: TpuV5E8
session: {limit_s: LIMIT, margin_s: 12, save_interval_s: 3}
stages:
  - {name: sft, kind: sft, steps: 100, options: {data: [magpie], max_seq_length: 96, batch: 16}}
  - {name: grpo, kind: grpo, steps: 14, options: &learn {batch: 8, num_generations: 4, max_prompt_length: 64, max_completion_length: 28, rewards: {"paced:by_hash": 1.0}}}
  - {name: curate, kind: curate, steps: 2, options: {batch: 8, max_prompt_length: 64, max_completion_length: 28}}
  - {name: hard, kind: continued, steps: 3, options: {<<: *learn, gradient_accumulation_steps: 2}}
"""

FAULTS = """
seed: 1
sessions:
  - {action: stall, stage: grpo, step: 4}
  - {action: kill, stage: grpo, step: 7, within_s: 0.2}
"""

PACED = """
import time
import zlib

def by_hash(prompts, completions, **columns):
    time.sleep(PAUSE_S)
    return [zlib.crc32(text.encode()) % 16 / 16 for text in completions]
"""
"""A reward that takes its time, so that a session comes to the end of its own however quick or busy the machine is."""

LIMIT_S = 50
PAUSE_S = 3.0
"""14 steps of GRPO with such a pause fit into no session, nor do those that are left after the kill, with the stages behind them."""


def rehearse(folder: Path, limit_s: int, pause_s: float, faults: str, compiled: dict[str, str]) -> dict[str, Any]:
    """One rehearsal of the pipeline, as a user would start it."""
    folder.mkdir()
    pipeline = folder / "small.yaml"
    pipeline.write_text(PIPELINE.replace("LIMIT", str(limit_s)), encoding="utf-8")
    (folder / "paced.py").write_text(PACED.replace("PAUSE_S", str(pause_s)), encoding="utf-8")
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
    tmp_path: Path, compiled_programs: dict[str, str]
) -> None:
    quiet = rehearse(tmp_path / "quiet", 900, 0.0, "{}", compiled_programs)  # first, since nothing is compiled after it
    disturbed = rehearse(tmp_path / "disturbed", LIMIT_S, PAUSE_S, FAULTS, compiled_programs)
    assert [session["outcome"] for session in quiet["sessions"]] == ["finished"]
    ends = [session["outcome"] for session in disturbed["sessions"]]
    assert {"yielded", "timed_out", "failed", "finished"} == set(ends), ends
    assert sum(session["steps_lost"] for session in disturbed["sessions"]) > 0
    assert disturbed["checkpoints"][-1]["contents"] == quiet["checkpoints"][-1]["contents"]
    at = {(c["stage"], c["step"]): c["contents"] for c in quiet["checkpoints"]}
    met = [c for c in disturbed["checkpoints"] if (c["stage"], c["step"]) in at]
    assert all(c["contents"] == at[c["stage"], c["step"]] for c in met)
