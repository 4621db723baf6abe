"""Reads the sizes of a model from the headers of its files, without reading the weights."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
import safetensors

from stages.stage import StageFailed
from stages.training.model_files import ModelFiles

HEAD_WIDTH = 256
"""Head width of every Gemma model except Gemma 3 27B, used if Hugging Face's config.json omits it."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model as found in its files; everything else is the same for a whole family."""

    layers: int
    vocabulary: int
    """Number of rows of the embedding; at least the tokenizer's number of pieces."""
    width: int
    hidden: int
    heads: int
    kv_heads: int
    head_width: int

    def __str__(self) -> str:
        return (
            f"{self.layers} layers, width {self.width}, hidden {self.hidden}, {self.heads} heads of {self.head_width}, "
            f"{self.kv_heads} for keys, vocabulary {self.vocabulary}"
        )


def read_sizes(files: ModelFiles, kind: str) -> Sizes:
    """Read the model's sizes from its files, without reading the weights.

    Raises StageFailed: `model-mismatch` if they are of another family than `kind`,
    `model-damaged` if parts are missing.
    """
    shapes = shapes_of(files)
    is_gemma3 = any("_key_norm" in name or "k_norm" in name for name in shapes)
    if is_gemma3 != kind.startswith("gemma3"):
        found = "Gemma 3" if is_gemma3 else "Gemma 2"
        raise StageFailed("model-mismatch", f"{files.weights} holds a {found} model and model.kind says {kind}")
    try:
        if files.layout == "flax":
            return _flax_sizes(shapes)
        return _transformers_sizes(shapes, _declared(files.weights))
    except KeyError as error:
        raise StageFailed(
            "model-damaged", f"{files.weights} has no {error.args[0]}: it is not a complete model"
        ) from error


def shapes_of(files: ModelFiles) -> Mapping[str, tuple[int, ...]]:
    """Read the shape of every array from the headers of the files, by the files' own names."""
    return _flax_shapes(files.weights) if files.layout == "flax" else _transformers_shapes(files.weights)


def flax_tree(weights: Path) -> Mapping[str, Any]:
    """Read the structure of an Orbax checkpoint as a tree of metadata; raises StageFailed `model-damaged`."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        metadata = checkpointer.metadata(weights).item_metadata
    if metadata is None:
        raise StageFailed("model-damaged", f"{weights} is not a checkpoint that Orbax can read")
    tree: Mapping[str, Any] = metadata.tree
    return tree


def flax_leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield (module, leaf, value) with DeepMind's names, such as `transformer/layer_0/attn/q_einsum` and `w`."""
    for module, leaves in tree.items():
        for leaf, value in leaves.items():
            yield module, leaf, value


def _flax_shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    return {f"{module}/{leaf}": tuple(value.shape) for module, leaf, value in flax_leaves(flax_tree(weights))}


def _flax_sizes(shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
    heads, head_width, width = shapes["transformer/layer_0/attn/attn_vec_einsum/w"]
    one_product = "transformer/layer_0/attn/qkv_einsum/w" in shapes
    return Sizes(
        layers=_count(int(name.split("/")[1][len("layer_") :]) for name in shapes if "/layer_" in name),
        vocabulary=shapes["transformer/embedder/input_embedding"][0],
        width=width,
        hidden=shapes["transformer/layer_0/mlp/linear/w"][0],
        heads=heads,
        kv_heads=heads if one_product else shapes["transformer/layer_0/attn/kv_einsum/w"][1],
        head_width=head_width,
    )


def _transformers_shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted({*weights.glob("*.safetensors"), *_listed(weights)}):
        try:
            with safetensors.safe_open(path, framework="numpy") as file:  # type: ignore[no-untyped-call]
                for name in file.keys():  # noqa: SIM118 - it is not a dictionary
                    shapes[name.removeprefix("language_model.")] = tuple(file.get_slice(name).get_shape())
        except (OSError, safetensors.SafetensorError) as error:
            raise StageFailed("model-damaged", f"{path} cannot be read: {error}") from error
    return shapes


def _listed(weights: Path) -> set[Path]:
    """Return the files that the index names, all of which are needed for a complete model."""
    index = weights / "model.safetensors.index.json"
    if not index.is_file():
        return set()
    try:
        return {weights / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError) as error:
        raise StageFailed("model-damaged", f"{index} is not an index of weights") from error


def _declared(weights: Path) -> Mapping[str, Any]:
    """Return the contents of config.json, with the text part of a multimodal model merged in;
    empty if the file is missing."""
    path = weights / "config.json"
    if not path.is_file():
        return {}
    try:
        declared: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StageFailed("model-damaged", f"{path} is not JSON: {error}") from error
    return {**declared, **declared.get("text_config", {})}


def _transformers_sizes(shapes: Mapping[str, tuple[int, ...]], declared: Mapping[str, Any]) -> Sizes:
    vocabulary, width = shapes["model.embed_tokens.weight"]
    head_width = declared.get("head_dim", HEAD_WIDTH)
    sizes = Sizes(
        layers=_count(int(name.split(".")[2]) for name in shapes if name.startswith("model.layers.")),
        vocabulary=vocabulary,
        width=width,
        hidden=shapes["model.layers.0.mlp.gate_proj.weight"][0],
        heads=shapes["model.layers.0.self_attn.q_proj.weight"][0] // head_width,
        kv_heads=shapes["model.layers.0.self_attn.k_proj.weight"][0] // head_width,
        head_width=head_width,
    )
    if declared.get("num_hidden_layers", sizes.layers) != sizes.layers:
        raise KeyError(f"weights of all {declared['num_hidden_layers']} layers")
    return sizes


def _count(numbers: Iterator[int]) -> int:
    """Return the number of layers; raises KeyError naming a missing layer unless the numbers are 0 … n-1."""
    found = set(numbers)
    missing = set(range(max(found, default=0) + 1)) - found
    if missing:
        raise KeyError(f"layer {min(missing)}")
    return len(found)
