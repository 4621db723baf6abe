"""The stage `measure`: two steps and a save of each stage with the tiny model, by a fixed time, and nothing else left."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from stages.contract import PROBE, Cursor, Report, StageSpec
from stages.probing import measure
from stages.probing.findings import ProbeReport
from stages.session import accelerator
from tests.training.harness import ANSWERS, TINY, shared_inputs, spec
from tests.unit.counting_runs import Kaggle, counting, kaggle, order

pytestmark = pytest.mark.slow

SFT = spec("sft", "sft", 300, data=["gsm8k"], batch=4, max_seq_length=64, mode="lora", lora_rank=2)
ASK = spec("ask", "evaluate", 10, batch=4, **ANSWERS)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(accelerator.STAND_IN, "1")


@pytest.fixture
def world(tmp_path: Path) -> Kaggle:
    found = kaggle(tmp_path / "kaggle")
    found.inputs.rmdir()
    found.inputs.symlink_to(shared_inputs())
    return found


def measured(world: Kaggle, *plan: StageSpec, seconds: float = 300.0, **changes: Any) -> tuple[Report, ProbeReport]:
    options = {"plan": json.dumps([stage.to_dict() for stage in plan]), "seconds": seconds, "platform": "tpu"}
    stage = StageSpec(name="measure", kind="measure", steps=len(plan), options=options)
    asked = order(model=TINY, stages=(stage,), start=Cursor(stage="measure", step=0), **changes)
    status, report = world.run(asked)
    assert (status, report.outcome) == (0, "finished"), report.reason
    return report, ProbeReport.from_json((world.working / "relay" / "artifacts" / PROBE).read_bytes())


def test_each_stage_is_measured_from_the_state_that_the_one_before_it_saved(world: Kaggle) -> None:
    report, found = measured(world, SFT, ASK)
    assert [(timing.stage, timing.problem) for timing in found.timings] == [("sft", ""), ("ask", "")]
    for timing in found.timings:
        assert timing.first_s and timing.step_s and timing.save_s and timing.memory_bytes
        assert timing.compile_s and timing.compile_s < timing.first_s, "a first step compiles, and does more than that"
        assert timing.hold_s is not None and timing.hold_s <= timing.save_s
    sft, ask = found.timings
    assert sft.checkpoint_bytes and ask.checkpoint_bytes
    assert sft.checkpoint_bytes > ask.checkpoint_bytes > 10_000, (
        "the adapter is passed on, the optimizer's state is not"
    )
    names = ("sft.first_step_s", "sft.step_s", "ask.first_step_s", "ask.step_s")
    assert {name: report.timings[name] for name in names} == {
        "sft.first_step_s": sft.first_s, "sft.step_s": sft.step_s,
        "ask.first_step_s": ask.first_s, "ask.step_s": ask.step_s,
    }  # fmt: skip
    assert report.timings["save_s"] >= max(sft.save_s or 0, ask.save_s or 0)
    left = [path for path in world.working.rglob("*") if path.is_file() and path.suffix == ".bin"]
    assert sum(path.stat().st_size for path in left) < 100_000, "no checkpoint of a stage is left in the output"


def test_a_stage_that_fails_is_told_and_the_next_one_is_measured(world: Kaggle) -> None:
    broken = spec("broken", "sft", 5, data=["gsm8k"], batch=4, max_seq_length=1)
    _, found = measured(world, broken, counting("count", 5))
    first, second = found.timings
    assert first.failed and first.problem and first.save_s is None
    assert (second.problem, second.step_s is not None) == ("", True)


def test_what_is_not_reached_in_time_stays_unknown_and_ends_the_stage_under_way(world: Kaggle) -> None:
    slow = counting("slow", 5, step_s=60.0)
    began_s = time.monotonic()
    report, found = measured(world, slow, SFT, seconds=1.5)
    assert time.monotonic() - began_s < 60.0, "the step under way did not have to end"
    assert [timing.problem for timing in found.timings] == ["the time was up during this stage", measure.NOT_REACHED]
    assert not any(timing.failed for timing in found.timings)
    assert "sft.step_s" not in report.timings
