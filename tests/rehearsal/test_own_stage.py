"""A stage of the user's own goes through the whole chain: code, sessions, a kill, TensorBoard's files, artifacts for people."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.records import shown

PIPELINE = """
name: mine
seed: 4
accelerator: cpu
session: {limit_s: LIMIT, margin_s: 1.5, save_interval_s: 0.5}
stages:
  - {name: walk, kind: "walking:train", steps: 160, options: {pause_s: 0.04}}
"""

WALKING = """
import time
from functools import partial
from stages.training.state_io import resumed, save_state
from stages.stage import Next
from walking_parts import stride

def write(state, directory):
    (directory / "artifacts").mkdir()
    (directory / "artifacts" / "where.md").write_text(f"now at {state['place']}\\n")
    return save_state(directory, state)

def train(context):
    state = resumed(context, {"place": 0})
    for step in range(context.start_step + 1, context.spec.steps + 1):
        time.sleep(context.spec.options["pause_s"])
        state = {"place": state["place"] + stride(context.seed, step)}
        answer = context.step_done(step, {"place": state["place"]})
        if answer is not Next.GO_ON:
            context.save(step, partial(write, state))
        if answer is Next.STOP:
            return
"""

PARTS = """
from random import Random

def stride(seed, step):
    return Random(f"{seed}/{step}").randrange(-9, 10)
"""

FAULTS = """
seed: 1
sessions:
  - {action: kill, stage: walk, step: 100, within_s: 0.1}
"""


def relay(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", "--home", str(folder / "home"), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def rehearse(folder: Path, limit_s: int, faults: str) -> dict[str, Any]:
    folder.mkdir()
    (folder / "mine.yaml").write_text(PIPELINE.replace("LIMIT", str(limit_s)), encoding="utf-8")
    (folder / "mine.faults.yaml").write_text(faults, encoding="utf-8")
    (folder / "walking.py").write_text(WALKING, encoding="utf-8")
    (folder / "walking_parts.py").write_text(PARTS, encoding="utf-8")
    done = relay(folder, "rehearse", str(folder / "mine.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    run: dict[str, Any] = json.loads(relay(folder, "status", "--json").stdout)["runs"][0]
    return run


@pytest.mark.slow
def test_a_stage_of_ones_own_survives_what_the_others_survive(tmp_path: Path) -> None:
    disturbed, quiet = rehearse(tmp_path / "disturbed", 6, FAULTS), rehearse(tmp_path / "quiet", 60, "{}")
    assert {session["outcome"] for session in disturbed["sessions"]} == {"yielded", "failed", "finished"}
    assert disturbed["checkpoints"][-1]["contents"] == quiet["checkpoints"][-1]["contents"]
    for folder, run in ((tmp_path / "disturbed", disturbed), (tmp_path / "quiet", quiet)):
        (artifact,) = (folder / "home" / "runs" / run["id"] / "artifacts").iterdir()
        assert artifact.read_text(encoding="utf-8").startswith("now at ")
    artifacts = [path.read_text(encoding="utf-8") for path in sorted(tmp_path.glob("*/home/runs/*/artifacts/where.md"))]
    assert artifacts[0] == artifacts[1]
    plain = list(tmp_path.glob("quiet/home/kaggle/**/working/relay/artifacts/where.md"))
    assert [path.read_text(encoding="utf-8") for path in plain] == [artifacts[0]]
    assert "where.md" in relay(tmp_path / "quiet", "artifacts", "mine").stdout
    one, other = (shown(next(tmp_path.glob(f"{name}/home/runs/*/tensorboard/walk"))) for name in ("disturbed", "quiet"))
    assert [step for step, _ in one["place"]] == list(range(1, 161))
    assert one == other


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "walking.py is not beside the pipeline"),
        ("def walk(context): ...", "walking.py has no function train"),
        ("def train(context)", "walking.py, line 1: this is not Python"),
    ],
)
def test_what_is_wrong_with_the_code_is_said_before_anything_is_created(
    text: str | None, said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(PIPELINE.replace("LIMIT", "6"), encoding="utf-8")
    if text is not None:
        (tmp_path / "walking.py").write_text(text, encoding="utf-8")
    for command in ("start", "up", "rehearse"):
        done = relay(tmp_path, command, str(tmp_path / "mine.yaml"))
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "home").exists()
