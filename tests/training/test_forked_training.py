"""A fork computes what its parent computed, bit for bit, until it differs; a warm start begins with the origin's numbers."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.contract import HISTORY, OPTIMIZER, WEIGHTS, Cursor, Manifest, Order, Parent, Report
from stages.session import packing
from stages.training import checkpoints
from stages.training.checkpoints import TrainingState
from tests.training.harness import ANSWERS, ROLLOUTS, TINY, shared_inputs, spec
from tests.unit.counting_runs import Kaggle, kaggle, order

pytestmark = pytest.mark.slow

SFT = {"data": ["gsm8k"], "batch": 4, "max_seq_length": 96, "warmup_steps": 2, "mode": "lora", "lora_rank": 2}
ODD = {**ROLLOUTS, "rewards": {"tests.training.odd_rewards:by_hash": 1.0}}
STAGES = (spec("sft", "sft", 4, **SFT), spec("asks", "evaluate", 1, **ANSWERS, batch=2), spec("grpo", "grpo", 2, **ODD))


def world_at(root: Path) -> Kaggle:
    """A folder shaped like `/kaggle` with the small model and the small sets."""
    world = kaggle(root)
    shutil.copytree(shared_inputs(), world.inputs, dirs_exist_ok=True)
    return world


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of the parent after every step."""
    world = world_at(tmp_path_factory.mktemp("parent") / "kaggle")
    _, report = world.run(
        order(model=TINY, stages=STAGES, start=Cursor(stage="sft", step=0), save_interval_s=0.0, keep_checkpoints=99)
    )
    assert report.outcome == "finished", report.reason
    return world.working / "relay" / "checkpoints"


def manifest(folder: Path) -> Manifest:
    return Manifest.from_json((folder / "manifest.json").read_text())


def begun(world: Kaggle, folder: Path, keeps: str, stages: tuple[Any, ...] = STAGES, **changes: Any) -> Report:
    """The first session of another run, which begins from the checkpoint in this folder."""
    world.publish(folder, "datasets/me/parent")
    found = manifest(folder)
    asked: Order = order(
        run="fork-0001",
        token="feed",
        model=TINY,
        stages=stages,
        start=found.cursor if keeps == HISTORY else Cursor(stage=stages[0].name, step=0),
        parent=Parent(name="count-1a2b-c0001", digest=found.digest, run="count-1a2b", keeps=keeps),
        save_interval_s=0.0,
        keep_checkpoints=99,
    )
    _, report = world.run(replace(asked, **changes))
    return report


def stored(world: Kaggle, folder: str, into: Path) -> TrainingState:
    """The state in a checkpoint that the session left."""
    left = world.working / "relay" / "checkpoints" / folder
    packing.open_checkpoint(left, manifest(left), into)
    return checkpoints.read(into)


@pytest.mark.parametrize("place", ["sft-00000002", "sft-00000004", "grpo-00000001"])
def test_an_unchanged_fork_computes_what_its_parent_computed_bit_for_bit(
    parent: Path, tmp_path: Path, place: str
) -> None:
    world = world_at(tmp_path / "kaggle")
    report = begun(world, parent / place, HISTORY)
    assert report.outcome == "finished", report.reason
    left = world.working / "relay" / "checkpoints"
    later = [folder.name for folder in sorted(left.iterdir())]
    assert "grpo-00000002" in later
    for name in later:
        assert manifest(left / name).digests == manifest(parent / name).digests, name
    assert manifest(left / "grpo-00000002").parent == manifest(parent / place).digest


def test_a_changed_fork_differs_after_its_place_only(parent: Path, tmp_path: Path) -> None:
    world = world_at(tmp_path / "kaggle")
    slower = (spec("sft", "sft", 4, **SFT, learning_rate=1e-4), *STAGES[1:])
    report = begun(world, parent / "sft-00000002", HISTORY, slower)
    assert report.outcome == "finished", report.reason
    left = world.working / "relay" / "checkpoints"
    assert manifest(left / "sft-00000003").parent == manifest(parent / "sft-00000002").digest
    mine, theirs = (manifest(folder / "sft-00000003").digests for folder in (left, parent))
    assert mine["weights"] != theirs["weights"]
    assert mine["data"] == theirs["data"], "the same examples in the same order"


def test_a_warm_start_has_the_origins_weights_at_step_0_and_nothing_else_of_it(parent: Path, tmp_path: Path) -> None:
    world = world_at(tmp_path / "kaggle")
    report = begun(world, parent / "grpo-00000002", WEIGHTS, (STAGES[1], spec("sft", "sft", 1, **SFT)), seed=3)
    assert report.outcome == "finished", report.reason
    asked = manifest(world.working / "relay" / "checkpoints" / "asks-00000001").digests
    assert asked["weights"] == manifest(parent / "grpo-00000002").digests["weights"]
    state = stored(world, "sft-00000001", tmp_path / "state")
    assert len(state.weights.adapters) == 3, "a new adapter on top of those of sft and grpo"
    assert sorted(state.artifacts) == ["transcripts-asks.jsonl", "verdicts-asks.jsonl"]


def test_a_warm_start_with_the_optimizer_keeps_its_moments_and_begins_the_schedule_anew(
    parent: Path, tmp_path: Path
) -> None:
    world = world_at(tmp_path / "kaggle")
    report = begun(world, parent / "sft-00000004", OPTIMIZER, (spec("again", "sft", 1, **SFT),), seed=3)
    assert report.outcome == "finished", report.reason
    state = stored(world, "again-00000001", tmp_path / "state")
    assert len(state.weights.adapters) == 1, "the same adapter goes on"
    optimizer = dict(state.optimizer or {})
    counts = {name: int(value) for name, value in optimizer.items() if name.endswith(".count")}
    assert sorted(counts.values()) == [1, 5], f"the schedule's count and AdamW's: {counts}"
    assert {name for name in state.data if name.startswith("sft")} == set(), "no pin of the other run's stages"


def test_a_state_that_does_not_fit_is_refused_before_a_step(parent: Path, tmp_path: Path) -> None:
    world = world_at(tmp_path / "kaggle")
    report = begun(world, parent / "sft-00000004", OPTIMIZER, (spec("again", "sft", 1, **{**SFT, "lora_rank": 4}),))
    assert (report.outcome, report.cause, report.checkpoint) == ("failed", "checkpoint-does-not-fit", None)
