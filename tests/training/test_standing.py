"""A stage stands on the model that the run began with, and where it trains an adapter, moves nothing else."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stages.options import Sft
from stages.stage import StageFailed
from stages.training import checkpoints, initial_state, lora
from stages.training.checkpoints import TrainingState, Weights, read, tree_digest, write
from stages.training.initial_state import FrozenWeightsCheck, StageState, made_of
from stages.training.model import WEIGHTS, Arrays, arrays_of, load, put_arrays
from tests.training.harness import ANSWERS, TINY, Chain, shared_inputs, spec

pytestmark = pytest.mark.slow

LORA = spec("sft", "sft", 3, data=["gsm8k"], max_seq_length=64, batch=4, mode="lora", lora_rank=2)


def digest(tmp_path: Path) -> str:
    return tree_digest(arrays_of(load(TINY, shared_inputs(), tmp_path).model))


def test_training_moves_the_adapter_and_nothing_else(tmp_path: Path) -> None:
    Chain((LORA,)).run(tmp_path)
    state = read(tmp_path / "sft-3")
    assert state.weights.base is None, "frozen weights are read again, not stored"
    (adapter,) = state.weights.adapters
    assert all(value.any() for name, value in adapter.arrays.items() if name.endswith("_lora_b"))
    assert state.made == digest(tmp_path)


def test_a_changed_model_is_noticed_before_anything_is_trained(tmp_path: Path) -> None:
    chain = Chain((spec("first", "evaluate", 1, **ANSWERS), spec("second", "evaluate", 1, **ANSWERS)))
    checkpoint = tmp_path / "first-1"
    checkpoint.mkdir()
    write(TrainingState(Weights(), made="another"), checkpoint)
    with pytest.raises(StageFailed) as failed:
        chain.run(tmp_path)
    assert failed.value.cause == "model-changed"


def test_a_changed_tokenizer_is_noticed_before_anything_is_trained(tmp_path: Path) -> None:
    chain = Chain((spec("first", "evaluate", 1, **ANSWERS, batch=2),))
    chain.run(tmp_path)
    state = read(tmp_path / "first-1")
    other = {**state.data, "tokenizer": {"rows": 1, "read": {"1": "0" * 64}, "revision": ""}}
    shutil.rmtree(tmp_path / "first-1")
    (tmp_path / "first-1").mkdir()
    write(replace(state, data=other), tmp_path / "first-1")
    with pytest.raises(StageFailed, match="no longer has the tokenizer that this run started with") as failed:
        chain.run(tmp_path)
    assert failed.value.cause == "model-changed"


def test_weights_are_held_to_the_digest_that_the_pipeline_names(tmp_path: Path) -> None:
    ask = spec("ask", "evaluate", 1, **ANSWERS, batch=2)
    Chain((ask,), {**TINY, "sha256": digest(tmp_path)}).run(tmp_path / "right")
    with pytest.raises(StageFailed, match=r"model\.sha256 is beef and the weights have") as failed:
        Chain((ask,), {**TINY, "sha256": "beef"}).run(tmp_path / "wrong")
    assert failed.value.cause == "model-changed"


def test_the_weights_that_a_session_loads_again_are_hashed_once_and_other_ones_are_not_taken_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def counting(arrays: Arrays) -> str:
        hashed.append(tree_digest(arrays))
        return hashed[-1]

    monkeypatch.setattr(checkpoints, "tree_digest", counting)
    monkeypatch.setattr(initial_state, "_MADE", {})
    first, second, other = (load(TINY, shared_inputs(), tmp_path).model for _ in range(3))
    assert made_of(first) == made_of(second) == tree_digest(arrays_of(first))
    assert len(hashed) == 1
    name, array = next(iter(arrays_of(other).items()))
    flipped = jnp.asarray(np.asarray(array).view(np.uint32).reshape(-1) ^ np.eye(1, array.size, 7, dtype=np.uint32)[0])
    put_arrays(other, {**arrays_of(other), name: flipped.view(array.dtype).reshape(array.shape)})
    assert made_of(other) == tree_digest(arrays_of(other)) != made_of(first)
    assert len(hashed) == 2


class Moving:
    """A small model with an adapter, at hand to be spoilt."""

    def __init__(self, tmp_path: Path) -> None:
        foundation = load(TINY, shared_inputs(), tmp_path)
        options = Sft(mode="lora", lora_rank=2)
        self.model = lora.with_adapter(foundation.model, options, 1, foundation.mesh)
        standing = StageState(foundation, self.model, foundation.model, Weights(), TrainingState(Weights(), ""), False)
        self.frozen = FrozenWeightsCheck(standing, options)

    def add(self, kind: object, amount: float) -> None:
        put_arrays(
            self.model,
            {name: value + jnp.asarray(amount, value.dtype) for name, value in arrays_of(self.model, kind).items()},
            kind,
        )

    def look(self, steps: int, **metrics: float) -> None:
        for _ in range(steps):
            self.frozen.look(metrics)


def test_an_adapter_that_does_not_move_in_three_steps_is_reported(tmp_path: Path) -> None:
    moving = Moving(tmp_path)
    with pytest.raises(StageFailed) as failed:
        moving.look(3)
    assert failed.value.cause == "lora-still-zero"


def test_steps_without_any_difference_between_answers_do_not_count(tmp_path: Path) -> None:
    moving = Moving(tmp_path)
    moving.look(9, idle_groups=1.0)
    moving.add(nnx.LoRAParam, 0.1)
    moving.look(9)


def test_weights_below_an_adapter_that_change_by_one_bit_are_reported(tmp_path: Path) -> None:
    moving = Moving(tmp_path)
    moving.add(nnx.LoRAParam, 0.1)
    moving.add(WEIGHTS, 1e-7)
    with pytest.raises(StageFailed) as failed:
        moving.look(3)
    assert failed.value.cause == "base-moved"
