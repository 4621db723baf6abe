"""Writes tiny models of every family with fresh weights, in exactly the layouts of Kaggle and Hugging Face.

Needs NumPy, and Orbax or safetensors depending on the layout: all are in the `train` extra.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.rehearsal.local_kaggle.stand_ins import decoder_weights
from stages.data.order import derive_seed
from stages.options.families import family_of

Array = np.ndarray[Any, np.dtype[np.float32]]

FOLDERS = {"gemma2": "gemma2-2b-it", "gemma3": "gemma3-1b-it"}
"""Name of the weights' folder in Kaggle's models."""

ROWS = 8
"""The number of embedding rows is a multiple of this, so that a mesh can split them. Gemma's is padded too."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of a stand-in model. The defaults give about 110,000 weights, enough to learn sums."""

    layers: int = 2
    width: int = 64
    hidden: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 16


def write_model(
    folder: Path,
    kind: str,
    layout: str,
    *,
    vocabulary: int,
    seed: int = 0,
    files: int = 1,
    **sizes: int,
) -> None:
    """Write a model of a family with at least `vocabulary` tokens. `seed` alone determines its weights, in both layouts.

    `flax`: an Orbax checkpoint in a folder of its own below `folder`. `transformers`: config.json and safetensors
    directly in `folder`, split into `files` files; Qwen and Llama have no other layout. `sizes` are the fields of `Shape`. The tokenizer is not written.
    """
    shape = Shape(**sizes)
    rows = -(-vocabulary // ROWS) * ROWS
    folder.mkdir(parents=True, exist_ok=True)
    if not family_of(kind).has_flax:
        _write_transformers(folder, decoder_weights.weights(kind, rows, shape, seed), files)
        _write_config(folder, decoder_weights.config(kind, rows, shape))
        return
    weights = _weights(kind, rows, shape, seed)
    if layout == "flax":
        _write_flax(folder / FOLDERS[kind], kind, weights)
    else:
        _write_transformers(folder, _as_transformers(kind, weights, shape), files)
        _write_config(folder, _config(kind, rows, shape))


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True), encoding="ascii")


def _weights(kind: str, rows: int, shape: Shape, seed: int) -> dict[str, Array]:
    """Draw all weights, named and laid out as DeepMind's, except that `gate` and `up` are separate.

    `inputs` in `drawn` is the number of terms summed in a product with the array.
    """
    width, heads, each = shape.width, shape.heads, shape.head_width

    def drawn(name: str, inputs: int, *size: int) -> Array:
        # Normal with variance 1 / inputs (LeCun). Tunix's own initial weights, whose feed-forward layers are all zero,
        # hardly learn at this size.
        draws = np.random.default_rng(derive_seed(seed, "weights", name)).standard_normal(size)
        return np.asarray(draws / np.sqrt(inputs), np.float32)

    found = {"embedder/input_embedding": drawn("embedder", width, rows, width), "final_norm/scale": _zeros(width)}
    for layer in (f"layer_{number}" for number in range(shape.layers)):
        if shape.kv_heads == heads:
            found[f"{layer}/attn/qkv_einsum/w"] = drawn(f"{layer}/qkv", width, 3, heads, width, each)
        else:
            found[f"{layer}/attn/q_einsum/w"] = drawn(f"{layer}/q", width, heads, width, each)
            found[f"{layer}/attn/kv_einsum/w"] = drawn(f"{layer}/kv", width, 2, shape.kv_heads, width, each)
        found[f"{layer}/attn/attn_vec_einsum/w"] = drawn(f"{layer}/o", heads * each, heads, each, width)
        for name in ("gate", "up"):
            found[f"{layer}/mlp/{name}"] = drawn(f"{layer}/{name}", width, width, shape.hidden)
        found[f"{layer}/mlp/linear/w"] = drawn(f"{layer}/down", shape.hidden, shape.hidden, width)
        for name in ("pre_attention_norm", "post_attention_norm", "pre_ffw_norm", "post_ffw_norm"):
            found[f"{layer}/{name}/scale"] = _zeros(width)
        for name in ("_query_norm", "_key_norm") if kind == "gemma3" else ():
            found[f"{layer}/attn/{name}/scale"] = _zeros(each)
    return found


def _zeros(size: int) -> Array:
    return np.zeros(size, np.float32)


def _write_flax(folder: Path, kind: str, weights: Mapping[str, Array]) -> None:
    import orbax.checkpoint as ocp

    tree: dict[str, dict[str, Array]] = {}
    for name, array in weights.items():
        module, leaf = name.rsplit("/", 1)
        if leaf == "up":
            continue
        if leaf == "gate":
            both = np.stack([array, weights[f"{module}/up"]])
            # Gemma 3 stores the transpose.
            tree[f"transformer/{module}/gating_einsum"] = {"w": both.swapaxes(1, 2) if kind == "gemma3" else both}
        else:
            tree.setdefault(f"transformer/{module}", {})[leaf] = array
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute(), tree)


def _as_transformers(kind: str, weights: Mapping[str, Array], shape: Shape) -> dict[str, Array]:
    """Return the same weights under Hugging Face's names, each matrix as (outputs, inputs)."""
    found = {"model.embed_tokens.weight": weights["embedder/input_embedding"]}
    for number in range(shape.layers):
        of = {name.partition("/")[2]: array for name, array in weights.items() if name.startswith(f"layer_{number}/")}
        query, key, value = of["attn/qkv_einsum/w"] if shape.kv_heads == shape.heads else _separate_qkv(of)
        layer = {
            "self_attn.q_proj": _rows(query),
            "self_attn.k_proj": _rows(key),
            "self_attn.v_proj": _rows(value),
            "self_attn.o_proj": of["attn/attn_vec_einsum/w"].reshape(-1, shape.width).T,
            "mlp.gate_proj": of["mlp/gate"].T,
            "mlp.up_proj": of["mlp/up"].T,
            "mlp.down_proj": of["mlp/linear/w"].T,
            "input_layernorm": of["pre_attention_norm/scale"],
            "post_attention_layernorm": of["post_attention_norm/scale"],
            "pre_feedforward_layernorm": of["pre_ffw_norm/scale"],
            "post_feedforward_layernorm": of["post_ffw_norm/scale"],
        }
        if kind == "gemma3":
            layer["self_attn.q_norm"] = of["attn/_query_norm/scale"]
            layer["self_attn.k_norm"] = of["attn/_key_norm/scale"]
        found.update({f"model.layers.{number}.{name}.weight": array for name, array in layer.items()})
    return {**found, "model.norm.weight": weights["final_norm/scale"]}


def _separate_qkv(of: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    key, value = of["attn/kv_einsum/w"]
    return of["attn/q_einsum/w"], key, value


def _rows(projection: Array) -> Array:
    """Reshape (heads, width, head) to (heads · head, width)."""
    return projection.swapaxes(1, 2).reshape(-1, projection.shape[1])


def _write_transformers(folder: Path, arrays: Mapping[str, Array], files: int) -> None:
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    if files == 1:
        save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = [f"model-{number:05}-of-{files:05}.safetensors" for number in range(1, files + 1)]
    place = {array: names[index * files // len(whole)] for index, array in enumerate(whole)}
    for name in names:
        save_file({array: whole[array] for array in whole if place[array] == name}, folder / name, {"format": "pt"})
    index = {"metadata": {"total_size": sum(array.nbytes for array in whole.values())}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="ascii")


def _config(kind: str, rows: int, shape: Shape) -> dict[str, Any]:
    """Return the parts of Hugging Face's config.json that concern sizes."""
    return {
        "architectures": ["Gemma3ForCausalLM" if kind == "gemma3" else "Gemma2ForCausalLM"],
        "model_type": "gemma3_text" if kind == "gemma3" else "gemma2",
        "vocab_size": rows,
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "query_pre_attn_scalar": shape.head_width,
        "torch_dtype": "float32",
    }
