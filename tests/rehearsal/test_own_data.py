"""A rehearsal with the user's own data trains on it in every session, and says of what else it has that it is made up."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PIPELINE = """
name: gsm8k-train
seed: 3
model: {kind: gemma2, source: relay/tiny-gemma2/flax/base/1, system: ""}
accelerator: TpuV5E8
session: {limit_s: 600, margin_s: 10, save_interval_s: 0.5}
inputs: {files: [gsm8k_train.jsonl, gsm8k_test.jsonl]}
stages:
  - {name: sft, kind: sft, steps: 16, options: {data: [gsm8k], max_seq_length: 64, batch: 4, mode: lora, lora_rank: 2}}
  - {name: ask, kind: evaluate, steps: 1, options: {data: [gsm8k, "mbpp:4"], max_prompt_length: 48, max_completion_length: 8, batch: 4}}
"""

FAULTS = """
seed: 1
sessions:
  - {action: kill, stage: sft, step: 10, within_s: 0.2}
"""


def rows(first: int, count: int) -> str:
    return "".join(
        json.dumps({"question": f"{n} + 1 = ?", "answer": f"so\n#### {n + 1}"}) + "\n"
        for n in range(first, first + count)
    )


@pytest.mark.slow
def test_every_session_trains_on_the_users_files_and_the_run_says_what_was_made_up(
    tmp_path: Path, compiled_programs: dict[str, str], quick_image: str
) -> None:
    (tmp_path / "gsm8k_train.jsonl").write_text(rows(0, 90), encoding="utf-8")
    (tmp_path / "gsm8k_test.jsonl").write_text(rows(90, 8), encoding="utf-8")
    (tmp_path / "own.yaml").write_text(PIPELINE, encoding="utf-8")
    (tmp_path / "own.faults.yaml").write_text(FAULTS + quick_image, encoding="utf-8")
    command = [sys.executable, "-m", "orchestrator", "--home", str(tmp_path / "home")]
    done = subprocess.run(
        [*command, "rehearse", str(tmp_path / "own.yaml")],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **compiled_programs},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = subprocess.run([*command, "status", "--json"], capture_output=True, text=True, check=True)
    run: dict[str, Any] = json.loads(told.stdout)["runs"][0]
    assert [session["outcome"] for session in run["sessions"]] == ["failed", "finished"]

    said = [
        line.partition("; left out")[0]
        for log in sorted((tmp_path / "home").rglob("*.log"))
        for line in log.read_text(encoding="utf-8").splitlines()
        if line.startswith("data ")
    ]
    taught = "data gsm8k: 90 to train on, 8 held out; gsm8k from the pipeline's inputs.files"
    assert [line for line in said if line.startswith("data gsm8k:")] == [taught] * 2
    assert {stage["name"]: stage["stand_ins"] for stage in run["stages"]} == {
        "sft": ["model"],
        "ask": ["mbpp", "model"],
    }
    assert not any(name.startswith("stand_in") for stage in run["stages"] for name in stage["metrics"])
    sentence = "Stand-ins made up for rehearsals took the place of the model and of the data set mbpp in sft and ask"
    assert sentence in " ".join(done.stdout.split())
    assert "stand-in mbpp, model" in " ".join(done.stdout.split())
