"""A stage of the user's own in the script that Kaggle runs: it finds its code there and can be cut anywhere."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kaggle_kernels import build
from orchestrator.pipeline.loader import load
from stages.contract import Cursor, Order, Report
from tests.unit.counting_runs import ROOT, Kaggle, kaggle, next_order, order

EXAMPLE = ROOT / "examples" / "own_stage.yaml"


def example(steps: int) -> Order:
    """The example's first session, shortened."""
    pipeline = load(EXAMPLE)
    specs = tuple(replace(spec, steps=steps) for spec in pipeline.specs)
    return order(stages=specs, sources=pipeline.sources, start=Cursor(stage=specs[0].name, step=0))


def run(asked: Order, world: Kaggle) -> Report:
    """One session by its script, in a Python with nothing but the standard library."""
    script = world.root / "script.py"
    script.write_text(build.script(asked), encoding="utf-8")
    command = [sys.executable, "-IS", str(script)]
    done = subprocess.run(command, cwd=world.working, capture_output=True, text=True, check=False)
    assert done.stderr == "", done.stderr
    return world.report()


@pytest.mark.slow
def test_the_example_is_the_same_however_it_is_cut(tmp_path: Path) -> None:
    whole = run(example(12), kaggle(tmp_path / "whole"))
    assert whole.outcome == "finished" and whole.checkpoint is not None
    assert whole.stages["pi"].metrics["pi"] == pytest.approx(3.14, abs=0.05)
    asked, before = example(12), None
    for stop in (1, 5, 11, 12):
        world = kaggle(tmp_path / f"until-{stop}")
        if before is not None:
            world.publish(before, "somewhere/parent")
        report = run(replace(asked, stop_at=Cursor(stage="pi", step=stop)), world)
        assert report.reached.step == stop and report.checkpoint is not None
        asked, before = next_order(asked, report), world.folders()[-1]
    assert report.checkpoint.digests == whole.checkpoint.digests


@pytest.mark.slow
def test_what_is_in_the_way_of_the_users_module_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    """The session's own script has imported `base64` long before."""
    world = kaggle(tmp_path / "kaggle")
    asked = replace(example(3), sources={"base64.py": "def train(context): ..."})
    report = run(asked, world)
    assert (report.outcome, report.cause, report.transient) == ("failed", "foreign-sources", False)
    assert "another module called base64 is in the way" in report.reason


@pytest.mark.slow
def test_an_error_in_the_users_code_comes_home_with_its_traceback(tmp_path: Path) -> None:
    world = kaggle(tmp_path / "kaggle")
    text = "from my_parts import broken\ndef train(context):\n    broken()\n"
    parts = "def broken():\n    raise ValueError('quite broken')\n"
    asked = example(3)
    mine = replace(asked.stages[0], kind="my_module:train")
    report = run(replace(asked, stages=(mine,), sources={"my_module.py": text, "my_parts.py": parts}), world)
    assert (report.outcome, report.cause) == ("failed", "ValueError@pi")
    assert 'my_parts.py", line 2, in broken' in report.traceback


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_a_stage_of_ones_own_too(tmp_path: Path) -> None:
    world = kaggle(tmp_path / "kaggle")
    text = (
        "from stages.training.state_io import carry_on\n"
        "def train(context):\n"
        "    carry_on(context, {}, lambda state, step, seed: (state, {'loss': float('nan') if step == 2 else 1.0}))\n"
    )
    asked = example(3)
    mine = replace(asked.stages[0], kind="my_module:train")
    report = run(replace(asked, stages=(mine,), sources={"my_module.py": text}), world)
    assert (report.cause, report.reached.step) == ("not-a-number", 1)
