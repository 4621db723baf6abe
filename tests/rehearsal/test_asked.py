"""A file of questions is answered in a session with the weights of a run that was trained before, on the same local Kaggle."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rehearsal.laptop import PATIENCE_S

ROOT = Path(__file__).parents[2]
PIPELINE = """
name: small
model: {kind: gemma2, source: relay/tiny-gemma2/flax/base/1, system: ""}
accelerator: TpuV5E8
session: {limit_s: 600, margin_s: 60}
stages:
  - {name: sft, kind: sft, steps: 2, options: {data: [magpie], batch: 4, max_seq_length: 80, mode: lora, lora_rank: 2}}
"""
QUESTION = "What is 2 + 3?"


@contextmanager
def served(folder: Path, environ: dict[str, str]) -> Iterator[dict[str, str]]:
    """A local Kaggle with what the pipeline mounts; the variables that lead to it."""
    command = [
        sys.executable,
        "-m",
        "orchestrator",
        "--home",
        str(folder / "home"),
        "rehearse",
        "small.yaml",
        "--serve",
        "--faults",
        "small.faults.yaml",
    ]
    serving = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    try:
        exported: dict[str, str] = {}
        for line in serving.stdout:
            if line.startswith("# then"):
                break
            name, _, value = line.strip().removeprefix("export ").partition("=")
            exported[name] = value
        yield {**environ, **exported}
    finally:
        serving.terminate()
        serving.communicate(timeout=PATIENCE_S)


@pytest.mark.slow
def test_a_session_answers_as_relay_ask_does_on_this_machine(
    tmp_path: Path, compiled_programs: dict[str, str], quick_image: str
) -> None:
    (tmp_path / "small.faults.yaml").write_text(quick_image)
    (tmp_path / "small.yaml").write_text(PIPELINE)
    (tmp_path / "asked.jsonl").write_text(json.dumps({"question": QUESTION, "id": "sum"}) + "\n")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **compiled_programs}
    relay = [sys.executable, "-m", "orchestrator", "--home", str(tmp_path / "home")]
    with served(tmp_path, environ) as reaching:

        def told(*arguments: str) -> str:
            done = subprocess.run(
                [*relay, *arguments],
                cwd=tmp_path,
                env=reaching,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        told("up", "small.yaml")
        here = json.loads(told("ask", "small", QUESTION, "--json", "--max-new-tokens", "12"))
        begun = json.loads(told("ask", "small", "--file", "asked.jsonl", "--max-new-tokens", "12", "--json"))
        deadline = time.monotonic() + PATIENCE_S
        while json.loads(told("status", begun["run"], "--json"))["runs"][0]["state"] == "active":
            assert time.monotonic() < deadline, told("status", begun["run"])
            told("daemon", "--once")
            time.sleep(2.0)  # each look is two processes, which take their time from the session
        (artifact,) = json.loads(told("artifacts", begun["run"], "--json"))["artifacts"]
    assert artifact["name"] == begun["artifact"] == "answers-answer.jsonl"
    (row,) = map(json.loads, Path(artifact["path"]).read_text(encoding="utf-8").splitlines())
    assert (row["id"], row["question"], row["problem"]) == ("sum", QUESTION, None)
    assert [row[name] for name in ("text", "tokens", "truncated")] == [
        here[name] for name in ("text", "tokens", "truncated")
    ]
