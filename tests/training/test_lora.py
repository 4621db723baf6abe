"""Adapters: alive when they start, the only thing that moves while they train, and nothing else than a change of weights."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stages.options import Sft
from stages.stage import StageFailed
from stages.training import lora
from stages.training.checkpoints import Weights, tree_digest
from stages.training.initial_state import put_weights
from stages.training.lora import Adapter
from stages.training.model import Foundation, arrays_of, copy_of, put_arrays
from tests.training.models import loaded, logits, written

pytestmark = pytest.mark.slow

OPTIONS = Sft(mode="lora", lora_rank=3, lora_alpha=5.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `model:` says to have a small Gemma 2."""
    return written(tmp_path_factory.mktemp("model"))


def adapted(foundation: Foundation, options: Sft = OPTIONS, seed: int = 1) -> nnx.Module:
    return lora.with_adapter(foundation.model, options, seed, foundation.mesh)


def moved(model: nnx.Module) -> dict[str, Any]:
    """Put random numbers into a model's adapter; the answer is what it has now."""
    random = np.random.default_rng(3)
    arrays = {
        name: (random.standard_normal(value.shape) * 0.1).astype(value.dtype)
        for name, value in arrays_of(model, nnx.LoRAParam).items()
    }
    put_arrays(model, arrays, nnx.LoRAParam)
    return arrays


def test_an_adapter_shares_the_weights_and_changes_nothing_yet(model: dict[str, Any]) -> None:
    foundation = loaded(model)
    before = logits(foundation.model)
    beside = adapted(foundation)
    assert np.array_equal(logits(beside), before)
    for name, weight in arrays_of(foundation.model).items():
        assert arrays_of(beside)[name] is weight


def test_an_adapter_starts_the_same_from_the_same_seed_only(model: dict[str, Any]) -> None:
    first, again, other = (arrays_of(adapted(loaded(model), seed=seed), nnx.LoRAParam) for seed in (1, 1, 2))
    assert tree_digest(first) == tree_digest(again) != tree_digest(other)


@pytest.mark.parametrize("kind", ["gemma2", "gemma3"])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_a_merged_model_is_the_adapted_model(kind: str, kv_heads: int, tmp_path: Path) -> None:
    """With one key for all heads as in Gemma 3 1B, with one for two as in Gemma 2 2B, with one for each."""
    foundation = loaded(written(tmp_path, kind, heads=4, kv_heads=kv_heads))
    merged = copy_of(foundation.model)
    beside = adapted(foundation)
    adapter = Adapter(OPTIONS.lora_rank, OPTIONS.lora_alpha, moved(beside))
    assert len(adapter.arrays) == 2 * 2 * (5 if kv_heads == 4 else 6), "two factors, two layers, all products"

    put_weights(merged, Weights(None, (adapter,)))

    assert np.abs(logits(beside) - logits(foundation.model)).max() > 0.1, "the adapter should matter"
    np.testing.assert_allclose(logits(merged), logits(beside), atol=1e-5)


def test_merging_rounds_once(model: dict[str, Any]) -> None:
    """In bfloat16 the products are still added in float32."""
    exact, rounded = loaded(model), loaded(model, dtype="bfloat16")
    arrays = moved(adapted(rounded))
    for foundation in (exact, rounded):
        put_weights(foundation.model, Weights(None, (Adapter(OPTIONS.lora_rank, OPTIONS.lora_alpha, arrays),)))
    name = "layers.0.mlp.down_proj.kernel"
    start = arrays_of(loaded(model).model)[name]
    added = np.asarray(arrays_of(exact.model)[name] - start) + np.asarray(start.astype(jnp.bfloat16), np.float32)
    found = np.asarray(arrays_of(rounded.model)[name], np.float32)
    np.testing.assert_allclose(found, added, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize(
    ("targets", "cause"), [("nothing_like_this", "lora-missing"), (".*embedder|.*q_einsum", "lora-unmergeable")]
)
def test_an_adapter_that_would_not_train_or_not_merge_is_refused(
    model: dict[str, Any], targets: str, cause: str
) -> None:
    """Where nothing matches, Tunix would train every weight instead, and say nothing."""
    with pytest.raises(StageFailed) as failed:
        adapted(loaded(model), Sft(mode="lora", lora_targets=targets))
    assert failed.value.cause == cause


def test_an_adapter_that_repeats_or_does_not_start_at_zero_is_refused(model: dict[str, Any]) -> None:
    fresh = arrays_of(adapted(loaded(model)), nnx.LoRAParam)
    lora.check_alive(fresh, OPTIONS.lora_targets)
    first, second = (f"layers.{layer}.attn.q_einsum.w_lora_a" for layer in (0, 1))
    with pytest.raises(StageFailed) as repeated:
        lora.check_alive({**fresh, second: fresh[first]}, OPTIONS.lora_targets)
    with pytest.raises(StageFailed) as started:
        lora.check_alive({name: value + 1 for name, value in fresh.items()}, OPTIONS.lora_targets)
    assert (repeated.value.cause, started.value.cause) == ("lora-repeats", "lora-not-zero")


def test_steps_move_the_adapter_and_nothing_else(model: dict[str, Any]) -> None:
    foundation = loaded(model)
    before = tree_digest(arrays_of(foundation.model))
    beside = adapted(foundation)
    with pytest.raises(StageFailed) as still:
        lora.check_moved(arrays_of(beside, nnx.LoRAParam))
    assert still.value.cause == "lora-still-zero"

    graph, live, rest = nnx.split(beside, nnx.LoRAParam, ...)

    def loss(live: Any) -> jax.Array:
        tokens, mask = jnp.arange(3, 9)[None], jnp.tril(jnp.ones((6, 6), bool))[None]
        return (nnx.merge(graph, live, rest)(tokens, jnp.arange(6)[None], None, mask)[0] ** 2).mean()

    nnx.update(beside, jax.tree.map(lambda value, slope: value - 0.1 * slope, live, jax.jit(jax.grad(loss))(live)))
    lora.check_moved(arrays_of(beside, nnx.LoRAParam))
    assert tree_digest(arrays_of(beside)) == before
