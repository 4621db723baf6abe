"""Adapters: alive when they start, the only thing that moves while they train, and nothing else than a change of weights."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stages import lora
from stages.checkpoints import read, tree_digest
from stages.lora import Adapter
from stages.model import Foundation, arrays_of, copy_of, load, put_arrays
from stages.options import Sft
from stages.stage import StageFailed
from tests.training.harness import TINY, Chain, spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_once")]

OPTIONS = Sft(mode="lora", lora_rank=3, lora_alpha=5.0)


def adapted(foundation: Foundation, options: Sft = OPTIONS, seed: int = 1) -> nnx.Module:
    return lora.with_adapter(foundation.model, options, seed, foundation.mesh)


def logits(model: nnx.Module) -> np.ndarray:
    graph, state = nnx.split(model)
    tokens = jnp.arange(3, 15)[None]
    mask = jnp.tril(jnp.ones((12, 12), bool))[None]
    return np.asarray(
        jax.jit(lambda state: nnx.merge(graph, state)(tokens, jnp.arange(12)[None], None, mask)[0])(state)
    )


def test_an_adapter_shares_the_weights_and_changes_nothing_yet() -> None:
    foundation = load(TINY)
    before = logits(foundation.model)
    model = adapted(foundation)
    assert np.array_equal(logits(model), before)
    for name, weight in arrays_of(foundation.model).items():
        assert arrays_of(model)[name] is weight


def test_an_adapter_starts_the_same_from_the_same_seed_only() -> None:
    first, again, other = (arrays_of(adapted(load(TINY), seed=seed), nnx.LoRAParam) for seed in (1, 1, 2))
    assert tree_digest(first) == tree_digest(again) != tree_digest(other)


def test_a_merged_model_is_the_adapted_model() -> None:
    foundation = load({**TINY, "layers": 4})
    merged = copy_of(foundation.model)
    model = adapted(foundation)
    random = np.random.default_rng(3)
    moved = {
        name: (random.standard_normal(value.shape) * 0.1).astype(np.float32)
        for name, value in arrays_of(model, nnx.LoRAParam).items()
    }
    put_arrays(model, moved, nnx.LoRAParam)

    lora.merge(merged, Adapter(OPTIONS.lora_rank, OPTIONS.lora_alpha, moved))

    assert np.abs(logits(model) - logits(foundation.model)).max() > 0.1, "the adapter should matter"
    np.testing.assert_allclose(logits(merged), logits(model), atol=1e-5)


@pytest.mark.parametrize(
    ("targets", "cause"), [("nothing_like_this", "lora-missing"), (".*embedder|.*q_einsum", "lora-unmergeable")]
)
def test_an_adapter_that_would_not_train_or_not_merge_is_refused(targets: str, cause: str) -> None:
    """Where nothing matches, Tunix would train every weight instead, and say nothing."""
    with pytest.raises(StageFailed) as failed:
        adapted(load(TINY), Sft(mode="lora", lora_targets=targets))
    assert failed.value.cause == cause


def test_an_adapter_that_repeats_or_does_not_start_at_zero_is_refused() -> None:
    fresh = arrays_of(adapted(load(TINY)), nnx.LoRAParam)
    lora.check_alive(fresh, OPTIONS.lora_targets)
    first, second = (f"layers.{layer}.attn.q_einsum.w_lora_a" for layer in (0, 1))
    with pytest.raises(StageFailed) as repeated:
        lora.check_alive({**fresh, second: fresh[first]}, OPTIONS.lora_targets)
    with pytest.raises(StageFailed) as moved:
        lora.check_alive({name: value + 1 for name, value in fresh.items()}, OPTIONS.lora_targets)
    assert (repeated.value.cause, moved.value.cause) == ("lora-repeats", "lora-not-zero")


def test_training_moves_the_adapter_and_nothing_else(tmp_path: Path) -> None:
    chain = Chain((spec("sft", "sft", 3, data="sums:20", batch=4, mode="lora", lora_rank=2),))
    chain.run(tmp_path)
    state = read(tmp_path / "sft-3")
    assert state.weights.base is None, "frozen weights are made again, not stored"
    (adapter,) = state.weights.adapters
    assert all(value.any() for name, value in adapter.arrays.items() if name.endswith("_lora_b"))
    assert state.made == tree_digest(arrays_of(load(TINY).model))
