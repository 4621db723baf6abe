"""Names and layouts of one model's weights: in Tunix, at Hugging Face, and in the checkpoints that Tunix's loaders read.

| Tunix | shape | Hugging Face |
|---|---|---|
| `q_einsum` | (heads, width, head) | `q_proj` (heads · head, width) |
| `kv_einsum`, `qkv_einsum` | (2 or 3, heads, width, head) | `k_proj`, `v_proj`, or all three |
| `attn_vec_einsum` | (heads, head, width) | `o_proj` (width, heads · head) |
| `gate_proj`, `up_proj`, `down_proj` | (inputs, outputs) | the transpose |
| norms, embedding | | the same |

Both sides multiply by `1 + scale` in a norm, and both embed and unembed with the same matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.formats.lazy_arrays import Array

EMBEDDING, FINAL_NORM = "embedder.input_embedding", "final_norm.scale"
PROJECTIONS = {
    "q_einsum": ("self_attn.q_proj",),
    "kv_einsum": ("self_attn.k_proj", "self_attn.v_proj"),
    "qkv_einsum": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn_vec_einsum": ("self_attn.o_proj",),
    "gate_proj": ("mlp.gate_proj",),
    "up_proj": ("mlp.up_proj",),
    "down_proj": ("mlp.down_proj",),
}
"""Matrices at Hugging Face in which each module of a layer is stored."""
NORMS = {
    "pre_attention_norm": "input_layernorm",
    "post_attn_norm": "post_attention_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "pre_ffw_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "_query_norm": "self_attn.q_norm",
    "_key_norm": "self_attn.k_norm",
}


@dataclass(frozen=True)
class Matrix:
    """Tensor of a Hugging Face model: its name, its shape, and how it is taken from Tunix's array."""

    name: str
    shape: tuple[int, ...]
    taken: Callable[[Array], Array]


def layer_and_module(name: str) -> tuple[int, str]:
    """Return the layer and the module of a weight: (0, `q_einsum`) for `layers.0.attn.q_einsum.w`."""
    parts = name.split(".")
    return int(parts[1]), parts[-2]


def matrices(name: str, shape: tuple[int, ...]) -> tuple[Matrix, ...]:
    """Return the Hugging Face tensors in which a weight of Tunix is stored."""
    if name == EMBEDDING:
        return (Matrix("model.embed_tokens.weight", shape, _same),)
    if name == FINAL_NORM:
        return (Matrix("model.norm.weight", shape, _same),)
    layer, module = layer_and_module(name)
    if module in NORMS:
        return (Matrix(f"model.layers.{layer}.{NORMS[module]}.weight", shape, _same),)
    targets = [f"model.layers.{layer}.{target}.weight" for target in PROJECTIONS[module]]
    match module:
        case "q_einsum":
            return (Matrix(targets[0], _flat(shape), _as_rows),)
        case "kv_einsum" | "qkv_einsum":
            return tuple(
                Matrix(target, _flat(shape[1:]), lambda array, index=index: _as_rows(array[index]))  # type: ignore[misc]
                for index, target in enumerate(targets)
            )
        case "attn_vec_einsum":
            heads, head, width = shape
            return (Matrix(targets[0], (width, heads * head), lambda array: array.reshape(-1, width).T),)
        case _:
            return (Matrix(targets[0], shape[::-1], lambda array: array.T),)


def from_matrices(name: str, shape: tuple[int, ...], read: Callable[[str], Array]) -> Array:
    """Return a weight of Tunix; `read` returns a Hugging Face tensor by name. The inverse of `matrices`."""
    found = [read(matrix.name) for matrix in matrices(name, shape)]
    for array, matrix in zip(found, matrices(name, shape), strict=True):
        if array.shape != matrix.shape:
            raise ValueError(f"{matrix.name} is {array.shape} and should be {matrix.shape}")
    if name in (EMBEDDING, FINAL_NORM):
        return found[0]
    match layer_and_module(name)[1]:
        case "q_einsum":
            return _from_rows(found[0], shape)
        case "kv_einsum" | "qkv_einsum":
            return np.stack([_from_rows(array, shape[1:]) for array in found])
        case "attn_vec_einsum":
            return found[0].T.reshape(shape)
        case module:
            return found[0] if module in NORMS else found[0].T


@dataclass(frozen=True)
class Place:
    """Place of a weight in the checkpoints that Tunix's loaders read.

    `key` and `leaf` are the two keys of the tree. `part` is the position within the leaf's first axis, for the two
    matrices that share `gating_einsum`.
    """

    key: str
    leaf: str
    part: int | None = None


def place_of(name: str) -> Place:
    """Return the place of a weight of Tunix in DeepMind's layout, such as `transformer/layer_0/attn/q_einsum` and `w`."""
    *path, leaf = name.split(".")
    if path[0] != "layers":
        return Place(f"transformer/{path[0]}", leaf)
    layer, inside = f"transformer/layer_{path[1]}", path[2:]
    match inside[-1]:
        case "gate_proj":
            return Place(f"{layer}/mlp/gating_einsum", "w", 0)
        case "up_proj":
            return Place(f"{layer}/mlp/gating_einsum", "w", 1)
        case "down_proj":
            return Place(f"{layer}/mlp/linear", "w")
        case "post_attn_norm":
            return Place(f"{layer}/post_attention_norm", leaf)
        case _:
            return Place("/".join([layer, *inside]), leaf)


def _same(array: Array) -> Array:
    return array


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
    heads, width, head = shape
    return heads * head, width


def _as_rows(projection: Array) -> Array:
    """Reshape (heads, width, head) to (heads · head, width)."""
    return projection.swapaxes(1, 2).reshape(-1, projection.shape[1])


def _from_rows(matrix: Array, shape: tuple[int, ...]) -> Array:
    heads, width, head = shape
    return matrix.reshape(heads, head, width).swapaxes(1, 2)
