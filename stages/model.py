"""Makes the model that a pipeline trains, with its tokenizer, on its mesh: always the same weights from the same options."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tunix.models.gemma import model as gemma

from stages.data.order import derive_seed
from stages.options import Model, fit
from stages.stage import StageFailed

Arrays = dict[str, jax.Array]
"""Parameters by name, such as `layers.0.attn.q_einsum.w`."""

WEIGHTS = nnx.All(nnx.Param, nnx.Not(nnx.LoRAParam))
"""The model's own weights: in Flax an adapter's parameters count as parameters too."""


@dataclass(frozen=True)
class Foundation:
    """A model as `model:` in the pipeline makes it, before anything is trained."""

    model: nnx.Module
    tokenizer: Any
    mesh: jax.sharding.Mesh


class Tokenizer:
    """One token a character, and one a tag. Has the five methods that Tunix asks of a tokenizer."""

    SPECIAL = ("<pad>", "<eos>", "<bos>")
    TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
    CHARACTERS = "0123456789+-*=? \n.,"

    def __init__(self) -> None:
        self.vocabulary = (*self.SPECIAL, *self.TAGS, *self.CHARACTERS)
        self._ids = {token: number for number, token in enumerate(self.vocabulary)}
        longest_first = sorted(self.vocabulary, key=len, reverse=True)
        self._token = re.compile("|".join(re.escape(token) for token in longest_first))

    def encode(self, text: str, **_: Any) -> list[int]:
        """Token numbers; characters outside the vocabulary are left out."""
        return [self._ids[token] for token in self._token.findall(text)]

    def decode(self, ids: list[int], **_: Any) -> str:
        """The text, special tokens left out."""
        return "".join(self.vocabulary[number] for number in ids if number >= len(self.SPECIAL))

    def pad_id(self) -> int:
        return 0

    def eos_id(self) -> int:
        return 1

    def bos_id(self) -> int:
        return 2


def load(values: Mapping[str, Any]) -> Foundation:
    """The model that the pipeline's `model:` describes. Raises StageFailed where it cannot be made here."""
    try:
        options = fit(Model, values, "model")
    except ValueError as error:
        raise StageFailed("bad-options", str(error)) from error
    if options.kind not in _KINDS:
        raise StageFailed("bad-options", f"model.kind {options.kind!r} is not known; there are {', '.join(_KINDS)}")
    return _KINDS[options.kind](options)


def arrays_of(module: nnx.Module, kind: Any = WEIGHTS) -> Arrays:
    """A module's variables of one kind by name, as they are now."""
    return {_name(path): variable.get_value() for path, variable in nnx.to_flat_state(nnx.state(module, kind))}


def put_arrays(module: nnx.Module, values: Mapping[str, Any], kind: Any = WEIGHTS) -> None:
    """Overwrite a module's variables of one kind, each where it lies; names, shapes and types must be the same."""
    flat = nnx.to_flat_state(nnx.state(module, kind))
    missing = {_name(path) for path, _ in flat} ^ set(values)
    if missing:
        raise StageFailed("checkpoint-does-not-fit", f"the state differs from the model in {sorted(missing)[:3]}")
    nnx.update(module, nnx.from_flat_state([(path, _filled(path, old, values[_name(path)])) for path, old in flat]))


def place(module: nnx.Module, mesh: jax.sharding.Mesh) -> None:
    """Lay every variable out on the mesh as its annotation says, so that nothing is copied there later."""
    state = nnx.state(module)
    specs = nnx.get_partition_spec(state)
    layout = jax.tree.map(lambda spec: jax.sharding.NamedSharding(mesh, spec or jax.sharding.PartitionSpec()), specs)
    nnx.update(module, jax.device_put(state, layout))


def copy_of(module: nnx.Module) -> nnx.Module:
    """A module with arrays of its own: a trainer may give the first one's memory away."""
    graph, state = nnx.split(module)
    return nnx.merge(graph, jax.tree.map(jnp.copy, state))


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)


def _filled(path: tuple[Any, ...], old: Any, value: Any) -> Any:
    now = old.get_value()
    if (now.shape, now.dtype) != (value.shape, value.dtype):
        raise StageFailed(
            "checkpoint-does-not-fit",
            f"{_name(path)} is {value.dtype}{value.shape} in the checkpoint and {now.dtype}{now.shape} in the model",
        )
    # A count that was not laid out yet stays free to be: tied to the first device, it could not join a mesh of several.
    return old.replace(jax.device_put(value, now.sharding if now.committed else None))


def _tiny_gemma2(options: Model) -> Foundation:
    mesh = _mesh(options)
    tokenizer = Tokenizer()
    kinds = (gemma.AttentionType.LOCAL_SLIDING, gemma.AttentionType.GLOBAL)
    config = gemma.ModelConfig(
        num_layers=options.layers,
        num_embed=len(tokenizer.vocabulary),
        embed_dim=options.width,
        hidden_dim=options.hidden,
        num_heads=options.heads,
        head_dim=options.head_width,
        num_kv_heads=options.kv_heads,
        final_logit_softcap=30.0,  # this and the next five as in Gemma 2 2B
        use_post_attn_norm=True,
        use_post_ffw_norm=True,
        attention_types=kinds * (options.layers // 2),
        attn_logits_soft_cap=50.0,
        sliding_window_size=4096,
    )
    # Only shapes are made here: Tunix's own first weights (feed-forward layers all zero) hardly learn at this size.
    model = nnx.eval_shape(lambda: gemma.Gemma(config, rngs=nnx.Rngs(0)))
    state = nnx.state(model)
    flat = [
        (path, leaf.replace(_first_weights(_name(path), leaf.get_value(), options.seed)))
        for path, leaf in nnx.to_flat_state(state)
    ]
    nnx.update(model, nnx.from_flat_state(flat))
    place(model, mesh)
    return Foundation(model, tokenizer, mesh)


def _first_weights(name: str, like: Any, seed: int) -> jax.Array:
    """Zeros for a norm's scale, else normal with variance one over the number of inputs (LeCun)."""
    if name.endswith("scale"):
        return jnp.zeros(like.shape, like.dtype)
    inputs = like.shape[-2]
    if name.endswith("attn_vec_einsum.w"):
        inputs = like.shape[0] * like.shape[1]
    elif name.endswith("input_embedding"):
        inputs = like.shape[1]
    draws = np.random.default_rng(derive_seed(seed, "weights", name)).standard_normal(like.shape)
    return jnp.asarray(draws / np.sqrt(inputs), like.dtype)


def _mesh(options: Model) -> jax.sharding.Mesh:
    shape = (options.mesh_fsdp, options.mesh_tp)
    wanted, found = shape[0] * shape[1], jax.devices()
    if len(found) < wanted:
        raise StageFailed(
            "accelerator-missing",
            f"the model is laid out on {wanted} devices and this session has {len(found)}",
            transient=True,
        )
    return jax.sharding.Mesh(np.array(found[:wanted]).reshape(shape), ("fsdp", "tp"))


_KINDS: dict[str, Callable[[Model], Foundation]] = {"tiny-gemma2": _tiny_gemma2}
