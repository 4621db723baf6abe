"""Low-rank adapters: add one beside a model's weights, check that it can learn, merge it into the weights.

Weights in bfloat16 would lose most of an adapter's contribution (a product of 0.00001 beside a weight of 0.02
all but vanishes), so beside such weights the adapters of earlier stages stay separate: they are the first
ranks of each module's two factors.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import qwix
from flax import nnx

from stages.options import TrainingOptions
from stages.stage import StageFailed
from stages.training.master_weights import live_part
from stages.training.model import Arrays, arrays_of, place, put_arrays
from stages.training.spread import on_host, placed

_A, _B = "_lora_a", "_lora_b"

_PRODUCTS = {
    "q_einsum": "dr,rnh->ndh",
    "kv_einsum": "dr,rckh->ckdh",
    "qkv_einsum": "dr,rcnh->cndh",
    "attn_vec_einsum": "nhr,rd->nhd",
    "q_proj": "dr,rnh->dnh",
    "k_proj": "dr,rnh->dnh",
    "v_proj": "dr,rnh->dnh",
    "o_proj": "nhr,rd->nhd",
    "gate_proj": "ir,ro->io",
    "up_proj": "ir,ro->io",
    "down_proj": "ir,ro->io",
}
"""Einsum by which A and B multiply to a module's weight; Gemma's `qkv_einsum` is for models in which every head has its
own keys, and `q_proj`, `k_proj`, `v_proj` and `o_proj` are Qwen's and Llama's."""


@dataclass(frozen=True)
class Adapter:
    """Parameters of one adapter; its product is scaled by `alpha / rank`."""

    rank: int
    alpha: float
    arrays: Mapping[str, Any]


def with_adapter(
    model: nnx.Module, options: TrainingOptions, seed: int, mesh: jax.sharding.Mesh, below: Sequence[Adapter] = ()
) -> nnx.Module:
    """Return a model that shares the given one's weights and has a fresh adapter, which changes nothing yet.

    `below` are adapters of earlier stages that are not merged into the weights: see `ranks_below`. Raises StageFailed
    if the adapter would not learn: it has no parameters (no module matches `lora_targets`, or the versions of Flax and
    Qwix are incompatible), initial weights repeat, or it does not start at zero.
    """
    scale = options.lora_alpha / options.lora_rank
    own = qwix.LoraRule(module_path=options.lora_targets, rank=options.lora_rank, alpha=options.lora_alpha)
    rules = [
        qwix.LoraRule(module_path=re.escape(module), rank=rank, alpha=scale * rank)
        for module, rank in _ranks(below, options).items()
    ]
    adapted = _adapted(model, [*rules, own], seed, mesh)
    held = ranks_below(below)
    live = {name: live_part(name, array, held) for name, array in arrays_of(adapted, nnx.LoRAParam).items()}
    check_alive({name: array for name, array in live.items() if array.size}, options.lora_targets)
    _fill_below(adapted, below, scale)
    return adapted


def with_stack(
    model: nnx.Module, adapters: Sequence[Adapter], mesh: jax.sharding.Mesh, scale: float = 1.0
) -> nnx.Module:
    """Return a model that shares the given one's weights and has these frozen adapters beside them.

    `scale` is that of the adapter trained on top, if any, so that both models round the second factors in the same way.
    """
    rules = [
        qwix.LoraRule(module_path=re.escape(module), rank=rank, alpha=scale * rank)
        for module, rank in _ranks(adapters, None).items()
    ]
    adapted = _adapted(model, rules, 0, mesh)
    _fill_below(adapted, adapters, scale)
    return adapted


def ranks_below(adapters: Sequence[Adapter]) -> dict[str, int]:
    """Return the total rank of earlier adapters by the weight's name, such as `layers.0.attn.q_einsum.w`."""
    found: dict[str, int] = {}
    for adapter in adapters:
        for name in _adapted_names(adapter):
            found[name] = found.get(name, 0) + adapter.rank
    return found


def _adapted_names(adapter: Adapter) -> list[str]:
    return sorted(key.removesuffix(_A) for key in adapter.arrays if key.endswith(_A))


def _ranks(below: Sequence[Adapter], options: TrainingOptions | None) -> dict[str, int]:
    """Return the total rank of each module that has earlier adapters, by Qwix's path, such
    as `layers/0/attn/q_einsum`."""
    found = {}
    for name, rank in ranks_below(below).items():
        module = "/".join(name.split(".")[:-1])
        trains = options is not None and re.fullmatch(options.lora_targets, module)
        found[module] = rank + (options.lora_rank if options is not None and trains else 0)
    return found


def _fill_below(model: nnx.Module, below: Sequence[Adapter], scale: float) -> None:
    """Put earlier adapters into the first ranks, rescaled for modules whose product is multiplied by `scale`."""
    if not below:
        return
    arrays = arrays_of(model, nnx.LoRAParam)
    for name in ranks_below(below):
        first, second = arrays[name + _A], arrays[name + _B]
        parts = [
            (
                adapter.arrays[name + _A],
                jnp.asarray(adapter.arrays[name + _B], jnp.float32) * _scale_of(adapter) / scale,
            )
            for adapter in below
            if name + _A in adapter.arrays
        ]
        held = ranks_below(below)[name]
        rest = (first[..., held:], jnp.zeros_like(second[held:]))
        firsts = [jnp.asarray(part[0]).astype(first.dtype) for part in parts]
        seconds = [part[1].astype(second.dtype) for part in parts]
        arrays[name + _A] = placed(jnp.concatenate([*firsts, rest[0]], -1), first.sharding)
        arrays[name + _B] = placed(jnp.concatenate([*seconds, rest[1]], 0), second.sharding)
    put_arrays(model, arrays, nnx.LoRAParam)


def _scale_of(adapter: Adapter) -> float:
    return adapter.alpha / adapter.rank


def _adapted(model: nnx.Module, rules: Sequence[Any], seed: int, mesh: jax.sharding.Mesh) -> nnx.Module:
    """Return a model that shares the given one's weights, with fresh parameters that Qwix creates by these rules."""
    provider = qwix.LoraProvider(list(rules))
    graph, weights = nnx.split(model)

    def adapted_with(state: Any) -> nnx.Module:
        whole = nnx.merge(graph, state)
        return qwix.apply_lora_to_model(whole, provider, **whole.get_model_input(), rngs=nnx.Rngs(params=seed))

    # Qwix finds the layers by running the model. Traced, this compiles one small program; eagerly, one per operation.
    with mesh:
        adapted = nnx.eval_shape(adapted_with, weights)
        fresh = jax.jit(lambda state: nnx.state(adapted_with(state), nnx.LoRAParam))(weights)
    nnx.update(adapted, weights, fresh)
    place(adapted, mesh)
    return adapted


def merged(name: str, weight: jax.Array, adapters: Sequence[Adapter]) -> jax.Array:
    """Add the products of all adapters to a weight, in float32; the caller rounds the sum once if needed."""
    weight = weight.astype(jnp.float32)
    for adapter in adapters:
        if name + _A in adapter.arrays:
            weight = _added(weight, adapter, name)
    return weight


def _added(weight: jax.Array, adapter: Adapter, name: str) -> jax.Array:
    first, second = (jnp.asarray(adapter.arrays[name + end], jnp.float32) for end in (_A, _B))
    module = name.split(".")[-2]
    # HIGHEST: otherwise a TPU rounds the factors to bfloat16, and the merged model differs from the trained one.
    product = jnp.einsum(_PRODUCTS[module], first, second, precision=jax.lax.Precision.HIGHEST)
    return weight + _scale_of(adapter) * product


def check_alive(arrays: Arrays, targets: str) -> None:
    """Raise StageFailed unless these parameters of a fresh adapter can learn."""
    unknown = sorted({name for name in arrays if name.split(".")[-2] not in _PRODUCTS})
    if unknown:
        raise StageFailed("lora-unmergeable", f"lora_targets {targets!r} matches {unknown[0]}, which cannot be merged")
    firsts = [on_host(value) for name, value in arrays.items() if name.endswith(_A)]
    seconds = [on_host(value) for name, value in arrays.items() if name.endswith(_B)]
    if not firsts or len(firsts) != len(seconds):
        raise StageFailed(
            "lora-missing", f"no module of the model matches lora_targets {targets!r}: nothing would be trained"
        )
    if len({value.tobytes() for value in firsts}) < len(firsts):
        raise StageFailed(
            "lora-repeats",
            "several layers got the same initial adapter weights: they were not initialised independently",
        )
    if any(value.any() for value in seconds):
        raise StageFailed("lora-not-zero", "a fresh adapter changes the model: its second factor should start at zero")


def check_moved(arrays: Arrays) -> None:
    """Raise StageFailed if parameters of an adapter still have their initial value after steps that had gradients.

    Callers must not count steps without a gradient (as in reinforcement learning if all groups
    are idle): they change nothing.
    """
    still = sorted(name for name, value in arrays.items() if name.endswith(_B) and not on_host(value).any())
    if still:
        raise StageFailed(
            "lora-still-zero",
            f"the adapters of {len(still)} modules are still zero, {still[0]} among them: they do not learn",
        )
