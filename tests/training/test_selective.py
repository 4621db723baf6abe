"""Logits computed only where needed are those of Tunix's own forward pass, adapter included, and so are their gradients."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stages.options import Sft
from stages.options.families import FAMILIES
from stages.training.lora import with_adapter
from stages.training.losses import logprobs_of
from stages.training.model import WEIGHTS, arrays_of, put_arrays
from stages.training.selective import token_logprobs
from tests.training.models import loaded, written

pytestmark = pytest.mark.slow

ROWS, WIDTH = 3, 12
TOKENS = jnp.asarray(np.random.default_rng(0).integers(3, 90, (ROWS, WIDTH)), jnp.int32)
POSITIONS = jnp.tile(jnp.arange(WIDTH), (ROWS, 1))
MASK = jnp.tile(jnp.tril(jnp.ones((WIDTH, WIDTH), bool)), (ROWS, 1, 1))
WEIGHTS_OF_TOKENS = jnp.asarray(np.random.default_rng(1).normal(size=(ROWS, WIDTH - 1)), jnp.float32)


@functools.cache
def adapted(kind: str) -> Any:
    """A model with an adapter that changes what it says: its second factors are not zero."""
    foundation = loaded(written(Path(tempfile.mkdtemp()), kind, "transformers"))
    model = with_adapter(foundation.model, Sft(mode="lora", lora_rank=2), 7, foundation.mesh)
    noise = np.random.default_rng(2)
    arrays = arrays_of(model, nnx.LoRAParam)
    moved = {name: jnp.asarray(noise.normal(size=array.shape) / 4, array.dtype) for name, array in arrays.items()}
    put_arrays(model, moved, nnx.LoRAParam)
    return foundation.model, model


@nnx.jit  # type: ignore[untyped-decorator]
def whole(model: Any) -> jax.Array:
    return jnp.asarray(model(TOKENS, POSITIONS, None, MASK)[0], jnp.float32)


@pytest.mark.parametrize("kind", FAMILIES)
def test_selected_hidden_states_have_the_logits_of_the_whole_pass_with_the_adapter(kind: str) -> None:
    base, model = adapted(kind)
    numbers = jnp.asarray([[0, 3, 11], [5, 5, 1], [10, 2, 0]], jnp.int32)

    @nnx.jit  # type: ignore[untyped-decorator]
    def selected(model: Any) -> tuple[jax.Array, jax.Array]:
        some, _ = model(TOKENS, POSITIONS, None, MASK, at=numbers)
        last, _ = model(TOKENS, POSITIONS, None, MASK, at=slice(4, 9))
        return model.head(some), model.head(last)

    some, last = selected(model)
    expected = whole(model)
    assert np.abs(expected - whole(base)).max() > 0.01, "the adapter has to show, or this proves nothing"
    np.testing.assert_allclose(some, jnp.take_along_axis(expected, numbers[..., None], 1), atol=2e-6, rtol=2e-6)
    np.testing.assert_allclose(last, expected[:, 4:9], atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("chunk_tokens", [6, 1024])
@pytest.mark.parametrize(("trains", "kind"), [("adapter", "gemma2"), ("adapter", "qwen2.5"), ("all", "gemma2")])
def test_logprobs_in_chunks_and_their_gradients_are_those_of_all_logits(
    trains: str, kind: str, chunk_tokens: int
) -> None:
    """Gemma 2 has soft capping after the head, and its embedding is the head too."""
    _, model = adapted(kind)
    wrt = nnx.LoRAParam if trains == "adapter" else WEIGHTS

    def plain(model: Any) -> jax.Array:
        logits, _ = model(TOKENS, POSITIONS, None, MASK)
        return jnp.sum(WEIGHTS_OF_TOKENS * jnp.exp(logprobs_of(logits[:, :-1] / 0.7, TOKENS[:, 1:])))

    def chunked(model: Any) -> jax.Array:
        hidden, _ = model(TOKENS, POSITIONS, None, MASK, at=slice(0, WIDTH - 1))
        found = token_logprobs(
            model.head, hidden, TOKENS[:, 1:], 0.7, head_trains=trains == "all", chunk_tokens=chunk_tokens
        )
        return jnp.sum(WEIGHTS_OF_TOKENS * jnp.exp(found))

    def found(function: Any) -> tuple[Any, Any]:
        value, gradient = nnx.jit(nnx.value_and_grad(function, argnums=nnx.DiffState(0, wrt)))(model)
        return value, {path: leaf.get_value() for path, leaf in nnx.to_flat_state(gradient)}

    (value, gradient), (expected, slopes) = found(chunked), found(plain)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert gradient.keys() == slopes.keys()
    size = np.sqrt(sum(float(jnp.sum(each**2)) for each in slopes.values()))
    off = np.sqrt(sum(float(jnp.sum((gradient[path] - slopes[path]) ** 2)) for path in slopes))
    assert size > 0.001
    assert off / size < 2e-6


def test_no_more_logits_exist_at_once_than_those_of_a_chunk() -> None:
    """Neither forwards nor for the gradient: read off the program's largest array."""
    _, model = adapted("gemma2")
    graph, state = nnx.split(model)

    def loss(hidden: jax.Array) -> jax.Array:
        head = nnx.merge(graph, state).head
        return jnp.sum(token_logprobs(head, hidden, jnp.zeros((4, 64), jnp.int32), chunk_tokens=32))

    hidden = jnp.zeros((4, 64, 16))
    vocabulary = model.embedder.num_embed
    text = str(jax.make_jaxpr(jax.grad(loss))(hidden))
    assert f"f32[4,8,{vocabulary}]" in text
    assert f"4,64,{vocabulary}" not in text


@pytest.mark.parametrize("kind", ["gemma2", "qwen2.5"])
def test_a_layers_adapter_has_its_gradients_before_the_layer_below_has_any(kind: str) -> None:
    """Each layer but the first is tied by a barrier on the gradients of its input and of its adapter alone."""
    _, model = adapted(kind)
    graph, adapter, rest = nnx.split(model, nnx.LoRAParam, ...)

    def loss(adapter: Any) -> jax.Array:
        hidden, _ = nnx.merge(graph, adapter, rest)(TOKENS, POSITIONS, None, MASK, at=slice(0, 2))
        return jnp.sum(hidden)

    barriers = [each for each in jax.make_jaxpr(jax.grad(loss))(adapter).eqns if "barrier" in str(each.primitive)]
    factors = [len(jax.tree.leaves(nnx.state(layer, nnx.LoRAParam))) for layer in model.layers]
    assert len(factors) > 1 and min(factors) > 0
    assert [len(each.invars) for each in barriers] == [1 + count for count in reversed(factors[1:])]
