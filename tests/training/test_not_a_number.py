"""No checkpoint is made of weights or moments that are not finite, and none that is there already is gone on from."""

import dataclasses
import math
import shutil
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from stages.contract import Cursor, Order, Report, StageSpec
from stages.session import packing, runner
from stages.stage import StageFailed
from stages.training import finite, initial_state
from stages.training.checkpoints import TrainingState, Weights, not_finite, read, write
from stages.training.lora import Adapter
from stages.training.model import arrays_of, load, put_arrays
from tests.training.harness import ANSWERS, ROLLOUTS, TINY, Chain, shared_inputs, spec
from tests.unit.counting_runs import Kaggle, kaggle, order

pytestmark = pytest.mark.slow

SMALL = {"data": ["gsm8k"], "max_seq_length": 64, "batch": 4}
CALM = spec("calm", "sft", 2, **SMALL)
LORA = spec("first", "sft", 2, **SMALL, mode="lora", lora_rank=2)


def session(world: Kaggle, *stages: StageSpec) -> Report:
    """One session that saves after each step."""
    asked: Order = order(stages=stages, start=Cursor(stage=stages[0].name, step=0), model=TINY, save_interval_s=0.0)
    runner.main(asked, working=world.working, inputs=shared_inputs(), started_s=time.monotonic())
    return world.report()


@pytest.mark.parametrize(
    "options",
    [{"learning_rate": 1e38}, {"learning_rate": 3e38, "weight_decay": 100.0}],
    ids=["weights that are finite and useless", "weights that are infinite"],
)
def test_a_learning_rate_that_explodes_leaves_the_checkpoint_from_before(
    options: dict[str, float], tmp_path: Path
) -> None:
    world = kaggle(tmp_path / "kaggle")
    wild = spec("wild", "sft", 9, **SMALL, clip_norm=1e38, warmup_steps=0, **options)
    report = session(world, CALM, wild)
    assert (report.outcome, report.cause) == ("failed", "not-a-number")
    assert report.checkpoint is not None and report.checkpoint.cursor == Cursor(stage="calm", step=2)
    newest = world.folders()[-1]
    assert newest.name == "calm-00000002"
    packing.open_checkpoint(newest, report.checkpoint, tmp_path / "opened")
    assert not_finite(read(tmp_path / "opened")) == ""


ONE = {"w": jnp.ones((2, 2))}
ODD = {"w": jnp.array([[1.0, math.nan], [1.0, 1.0]])}
INFINITE = {"w": jnp.array([1.0, -math.inf], jnp.bfloat16)}


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (TrainingState(Weights(ODD), "made"), "base w"),
        (TrainingState(Weights(INFINITE), "made"), "base w"),
        (TrainingState(Weights(ONE, (Adapter(2, 4.0, ONE), Adapter(2, 4.0, ODD))), "made"), "adapter_1 w"),
        (TrainingState(Weights(ONE), "made", Weights(ODD)), "origin_base w"),
        (
            TrainingState(Weights(ONE), "made", None, {"count": jnp.array(3), "mu": ONE["w"], "nu": ODD["w"]}),
            "optimizer nu",
        ),
    ],
    ids=["weights", "bfloat16", "an adapter", "a reference", "a moment"],
)
def test_a_state_that_is_not_finite_is_not_written(state: TrainingState, name: str, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=f"^{name} is not finite after sft step 7, so no checkpoint") as failed:
        write(state, tmp_path, "sft step 7")
    assert failed.value.cause == "not-a-number"
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chain with the checkpoint of one step."""
    folder = tmp_path_factory.mktemp("trained")
    Chain((dataclasses.replace(LORA, steps=1),)).run(folder)
    return folder


def spoil(folder: Path, item: str) -> None:
    """Put a not-a-number into a checkpoint, as one that an earlier relay has made could hold."""
    handler = ocp.CompositeCheckpointHandler(
        **{name: ocp.PyTreeCheckpointHandler() for name in ("adapter_0", "optimizer")}
    )
    state = read(folder)
    items: dict[str, dict[str, Any]] = {
        "adapter_0": dict(state.weights.adapters[0].arrays),
        "optimizer": dict(state.optimizer or {}),
    }
    name = next(name for name, array in items[item].items() if array.ndim)
    items[item][name] = np.full_like(items[item][name], np.nan)
    with ocp.Checkpointer(handler) as checkpointer:
        saved = {name: ocp.args.PyTreeSave(arrays) for name, arrays in items.items()}
        checkpointer.save((folder / "arrays").absolute(), args=ocp.args.Composite(**saved), force=True)


@pytest.mark.parametrize(
    ("item", "following"),
    [
        ("optimizer", LORA),
        ("adapter_0", LORA),
        ("adapter_0", spec("next", "sft", 1, **SMALL)),
        ("adapter_0", spec("next", "grpo", 1, **ROLLOUTS)),
        ("adapter_0", spec("next", "evaluate", 1, **ANSWERS)),
        ("adapter_0", spec("next", "curate", 1, **ANSWERS)),
    ],
    ids=["resumed with moments", "resumed", "sft", "grpo", "evaluate", "curate"],
)
def test_a_checkpoint_that_is_not_finite_is_not_gone_on_from(
    item: str, following: StageSpec, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    spoil(tmp_path / "first-1", item)
    stages = (LORA,) if following is LORA else (dataclasses.replace(LORA, steps=1), following)
    with pytest.raises(StageFailed, match=f"^{item} .* of the checkpoint first step 1 is not finite") as failed:
        Chain(stages).go_on(tmp_path)
    assert failed.value.cause == "checkpoint-not-finite"


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float8_e4m3fn, jnp.float8_e5m2])
def test_types_that_numpy_does_not_know_are_looked_at(dtype: Any) -> None:
    """Of every number that the type has, those are found that are not finite in 32 bits."""
    size = jnp.dtype(dtype).itemsize
    every = np.arange(256**size, dtype=f"u{size}").view(dtype)
    odd = ~np.isfinite(every.astype(np.float32))
    assert odd.any()
    assert finite.not_finite({"sound": every[~odd]}) == ""
    found = [bool(finite.not_finite({"one": every[place : place + 1]})) for place in np.flatnonzero(odd)]
    assert all(found)


def test_model_files_that_are_not_finite_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    model = load(TINY, shared_inputs(), tmp_path).model
    name, array = next(iter(arrays_of(model).items()))
    put_arrays(model, {**arrays_of(model), name: jnp.full_like(array, jnp.inf)})
    with pytest.raises(StageFailed, match=f"^{name} in the model's files is not finite") as failed:
        initial_state.made_of(model)
    assert failed.value.cause == "model-not-finite"
