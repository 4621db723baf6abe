"""Names and layouts of one model's weights: in Tunix, at Hugging Face, and in the checkpoints that Tunix's loaders read.

| Tunix | shape | Hugging Face |
|---|---|---|
| `q_einsum` | (heads, width, head) | `q_proj` (heads · head, width) |
| `kv_einsum`, `qkv_einsum` | (2 or 3, heads, width, head) | `k_proj`, `v_proj`, or all three |
| `attn_vec_einsum` | (heads, head, width) | `o_proj` (width, heads · head) |
| `q_proj`, `k_proj`, `v_proj` | (width, heads, head) | (heads · head, width) |
| `o_proj` | (heads, head, width) | (width, heads · head) |
| `gate_proj`, `up_proj`, `down_proj`, `lm_head` | (inputs, outputs) | the transpose |
| norms, biases, embedding | | the same |

The first three are those of Gemma, the next two those of Qwen and Llama. In a norm both sides multiply by the same
number: by `1 + scale` in Gemma, by the weight itself in the others. A tied model has no `lm_head`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.formats.lazy_arrays import Array

EMBEDDING = "embedder.input_embedding"
WHOLE_MODEL = {
    EMBEDDING: "model.embed_tokens.weight",
    "final_norm.scale": "model.norm.weight",
    "final_norm.w": "model.norm.weight",
    "lm_head.w": "lm_head.weight",
}
"""Weights outside the layers, with their names at Hugging Face."""
PROJECTIONS = {
    "q_einsum": ("self_attn.q_proj",),
    "kv_einsum": ("self_attn.k_proj", "self_attn.v_proj"),
    "qkv_einsum": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn_vec_einsum": ("self_attn.o_proj",),
    **{name: (f"self_attn.{name}",) for name in ("q_proj", "k_proj", "v_proj", "o_proj")},
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
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "input_layernorm": "input_layernorm",
    "post_attention_layernorm": "post_attention_layernorm",
}
BIASES = {f"{part}_bias": f"self_attn.{part}_proj.bias" for part in ("q", "k", "v")}
"""Biases of Qwen 2.5's projections, which Tunix keeps beside the projections."""


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
    if name in WHOLE_MODEL:
        turned = name == "lm_head.w"
        return (Matrix(WHOLE_MODEL[name], shape[::-1] if turned else shape, _turned if turned else _same),)
    layer, module = layer_and_module(name)
    if kept := _kept(name, module):
        return (Matrix(f"model.layers.{layer}.{kept}", shape, _same),)
    targets = [f"model.layers.{layer}.{target}.weight" for target in PROJECTIONS[module]]
    match module:
        case "q_einsum":
            return (Matrix(targets[0], _flat(shape), _as_rows),)
        case "kv_einsum" | "qkv_einsum":
            return tuple(
                Matrix(target, _flat(shape[1:]), lambda array, index=index: _as_rows(array[index]))  # type: ignore[misc]
                for index, target in enumerate(targets)
            )
        case "q_proj" | "k_proj" | "v_proj":
            width, heads, head = shape
            return (Matrix(targets[0], (heads * head, width), lambda array: array.reshape(width, -1).T),)
        case "attn_vec_einsum" | "o_proj":
            heads, head, width = shape
            return (Matrix(targets[0], (width, heads * head), lambda array: array.reshape(-1, width).T),)
        case _:
            return (Matrix(targets[0], shape[::-1], _turned),)


def _kept(name: str, module: str) -> str:
    """Return the name within its layer of a norm or a bias, which both sides store alike; else an empty string."""
    if (bias := name.rpartition(".")[2]) in BIASES:
        return BIASES[bias]
    return f"{NORMS[module]}.weight" if module in NORMS else ""


def from_matrices(name: str, shape: tuple[int, ...], read: Callable[[str], Array]) -> Array:
    """Return a weight of Tunix; `read` returns a Hugging Face tensor by name. The inverse of `matrices`."""
    found = [read(matrix.name) for matrix in matrices(name, shape)]
    for array, matrix in zip(found, matrices(name, shape), strict=True):
        if array.shape != matrix.shape:
            raise ValueError(f"{matrix.name} is {array.shape} and should be {matrix.shape}")
    if name in WHOLE_MODEL:
        return found[0].T if name == "lm_head.w" else found[0]
    module = layer_and_module(name)[1]
    if _kept(name, module):
        return found[0]
    match module:
        case "q_einsum":
            return _from_rows(found[0], shape)
        case "kv_einsum" | "qkv_einsum":
            return np.stack([_from_rows(array, shape[1:]) for array in found])
        case "q_proj" | "k_proj" | "v_proj" | "attn_vec_einsum" | "o_proj":
            return found[0].T.reshape(shape)
        case _:
            return found[0].T


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


def _turned(array: Array) -> Array:
    return array.T


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
    heads, width, head = shape
    return heads * head, width


def _as_rows(projection: Array) -> Array:
    """Reshape (heads, width, head) to (heads · head, width)."""
    return projection.swapaxes(1, 2).reshape(-1, projection.shape[1])


def _from_rows(matrix: Array, shape: tuple[int, ...]) -> Array:
    heads, width, head = shape
    return matrix.reshape(heads, head, width).swapaxes(1, 2)
