"""Examples that share a row learn what each would learn alone, in every family, adapter included."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stages.data import Example
from stages.options import Sft
from stages.options.families import FAMILIES
from stages.training.losses import TaughtBatch, TaughtLoss, logprobs_of, taught_input
from stages.training.row_packing import PackedLayout, PackedShape
from stages.training.taught_batches import encode
from tests.training.models import loaded, written
from tests.training.test_selective import adapted

pytestmark = pytest.mark.slow

MADE = [Example(source="t", question=f"{count} + 1", completion="2 " * count) for count in (1, 9, 3, 20, 2, 14, 5, 24)]
WIDTH, WINDOW = 320, 7
"""Positions of a row, and of the sliding windows of the models that have them: shorter than the row and the examples."""


def windowed(model: Any) -> Any:
    """A copy of the model, whose sliding windows are short."""
    copy = nnx.merge(*nnx.split(model))
    if hasattr(copy.config, "sliding_window_size"):
        copy.config = dataclasses.replace(copy.config, sliding_window_size=WINDOW)
        for layer in copy.layers:
            layer.attn.sliding_window_size = WINDOW
    return copy


def alone(model: Any, batch: TaughtBatch) -> jax.Array:
    """The loss of a batch without shared rows, from all logits of Tunix's own forward pass."""
    logits, _ = model(batch.tokens, batch.positions, None, taught_input(batch)["attention_mask"])
    logprobs = logprobs_of(logits[:, :-1], batch.tokens[:, 1:])
    return -jnp.sum(jnp.take_along_axis(logprobs, batch.at, axis=1) * batch.weights)


def packed(model: Any, batch: TaughtBatch) -> jax.Array:
    return TaughtLoss(head_trains=False)(model, **taught_input(batch))


def found(function: Any, model: Any, batch: TaughtBatch) -> tuple[float, np.ndarray]:
    gradient = nnx.jit(nnx.value_and_grad(function, argnums=nnx.DiffState(0, nnx.LoRAParam)))
    value, slopes = gradient(model, batch)
    return float(value), np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(slopes)])


@pytest.mark.parametrize("kind", FAMILIES)
def test_loss_and_gradient_of_shared_rows_are_those_of_rows_alone(kind: str, tmp_path: Any) -> None:
    base, model = (windowed(each) for each in adapted(kind))
    foundation = dataclasses.replace(loaded(written(tmp_path, kind, "transformers"), system=""), model=model)
    options = Sft(batch=len(MADE), max_seq_length=WIDTH, mode="lora")
    shared = encode(MADE, foundation, options, PackedLayout((PackedShape(4, WIDTH, WIDTH - 32),)))
    own = encode(MADE, foundation, options)
    assert (len(shared.tokens), len(own.tokens)) == (4, len(MADE))

    value, gradient = found(packed, model, shared)
    wanted, slopes = found(alone, model, own)

    assert value == pytest.approx(wanted, rel=1e-6)
    assert np.linalg.norm(gradient - slopes) <= 1e-5 * np.linalg.norm(slopes)
    assert np.linalg.norm(slopes) > 0.001
    if kind == "gemma2":  # of the others test_selective shows it
        assert abs(wanted - float(nnx.jit(alone)(base, own))) > 1e-4, "the adapter has to show, or this proves nothing"
