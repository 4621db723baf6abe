"""Low-rank adapters: put one beside a model's weights, check that it is alive, merge it into the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import qwix
from flax import nnx

from stages.model import WEIGHTS, Arrays, arrays_of, place, put_arrays
from stages.options import Trained
from stages.stage import StageFailed

_A, _B = "_lora_a", "_lora_b"

_PRODUCTS = {
    "q_einsum": "dr,rnh->ndh",
    "kv_einsum": "dr,rckh->ckdh",
    "qkv_einsum": "dr,rcnh->cndh",
    "attn_vec_einsum": "nhr,rd->nhd",
    "gate_proj": "ir,ro->io",
    "up_proj": "ir,ro->io",
    "down_proj": "ir,ro->io",
}
"""How A and B multiply to the shape of a module's weight, in Gemma 2 as in Gemma 3; `qkv_einsum` is where every head has keys."""


@dataclass(frozen=True)
class Adapter:
    """One adapter's parameters; its product counts `alpha / rank` times."""

    rank: int
    alpha: float
    arrays: Mapping[str, Any]


def with_adapter(model: nnx.Module, options: Trained, seed: int, mesh: jax.sharding.Mesh) -> nnx.Module:
    """A model that shares the given one's weights and has a fresh adapter, which changes nothing yet.

    Raises StageFailed where the adapter would not learn: it has no parameters (no module matches `lora_targets`, or the
    versions of Flax and Qwix do not go together), the first weights repeat, or it does not start at zero.
    """
    provider = qwix.LoraProvider(module_path=options.lora_targets, rank=options.lora_rank, alpha=options.lora_alpha)
    graph, weights = nnx.split(model)

    def adapted_with(state: Any) -> nnx.Module:
        whole = nnx.merge(graph, state)
        return qwix.apply_lora_to_model(whole, provider, **whole.get_model_input(), rngs=nnx.Rngs(params=seed))

    # Qwix finds the layers by running the model. Traced, that costs one small program; run as it is, one for each operation.
    with mesh:
        adapted = nnx.eval_shape(adapted_with, weights)
        fresh = jax.jit(lambda state: nnx.state(adapted_with(state), nnx.LoRAParam))(weights)
    nnx.update(adapted, weights, fresh)
    place(adapted, mesh)
    check_alive(arrays_of(adapted, nnx.LoRAParam), options.lora_targets)
    return adapted


def merge(model: nnx.Module, adapter: Adapter) -> None:
    """Add an adapter's product to the model's own weights, in place."""
    merged = arrays_of(model, WEIGHTS)
    for name in {key.removesuffix(_A) for key in adapter.arrays if key.endswith(_A)}:
        merged[name] = _added(merged[name], adapter, name)
    put_arrays(model, merged, WEIGHTS)


def _added(weight: jax.Array, adapter: Adapter, name: str) -> jax.Array:
    first, second = (jnp.asarray(adapter.arrays[name + end], jnp.float32) for end in (_A, _B))
    module = name.split(".")[-2]
    # HIGHEST: a TPU would round the factors to bfloat16, and the merged model would not be the trained one.
    product = jnp.einsum(_PRODUCTS[module], first, second, precision=jax.lax.Precision.HIGHEST)
    return (weight + adapter.alpha / adapter.rank * product).astype(weight.dtype)


def check_alive(arrays: Arrays, targets: str) -> None:
    """Raise StageFailed unless these parameters of a fresh adapter can learn."""
    unknown = sorted({name for name in arrays if name.split(".")[-2] not in _PRODUCTS})
    if unknown:
        raise StageFailed("lora-unmergeable", f"lora_targets {targets!r} matches {unknown[0]}, which cannot be merged")
    firsts = [np.asarray(value) for name, value in arrays.items() if name.endswith(_A)]
    seconds = [np.asarray(value) for name, value in arrays.items() if name.endswith(_B)]
    if not firsts or len(firsts) != len(seconds):
        raise StageFailed(
            "lora-missing", f"no module of the model matches lora_targets {targets!r}: nothing would be trained"
        )
    if len({value.tobytes() for value in firsts}) < len(firsts):
        raise StageFailed(
            "lora-repeats", "layers got the same first adapter weights: the random numbers did not reach them"
        )
    if any(value.any() for value in seconds):
        raise StageFailed("lora-not-zero", "a fresh adapter changes the model: its second factor should start at zero")


def check_moved(arrays: Arrays) -> None:
    """Raise StageFailed where these parameters of an adapter are still as they began, after steps that had gradients.

    Steps without any (reinforcement learning whose groups all agree) leave an adapter as it is: they do not count.
    """
    still = sorted(name for name, value in arrays.items() if name.endswith(_B) and not np.asarray(value).any())
    if still:
        raise StageFailed(
            "lora-still-zero",
            f"{len(still)} modules' adapters have not moved, {still[0]} among them: they do not learn",
        )
