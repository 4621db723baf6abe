"""Reads the sizes of a model from the headers of its files, without reading the weights."""

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
import safetensors

from stages.options.families import FAMILIES, Family, Sizes, family_name, family_of, kind_with
from stages.stage import StageFailed
from stages.training.model_files import ModelFiles

TELLING_PARTS = {"self_attn.q_proj.bias": "qwen2.5", "self_attn.k_norm.weight": "qwen3"}
"""Arrays of layer 0 by which a family without Gemma's norms is known, if config.json does not name it."""


def read_sizes(files: ModelFiles, kind: str) -> Sizes:
    """Read the model's sizes from its files, without reading the weights.

    Raises StageFailed: `model-mismatch` if they are of another family than `kind`, or declare something that Tunix's
    model of the family does not compute; `model-damaged` if parts are missing.
    """
    shapes, wanted = shapes_of(files), family_name(kind)
    declared = {} if files.layout == "flax" else declared_config(files.weights)
    family = _family_in(files, shapes, declared)
    try:
        if files.layout == "flax":
            sizes = _flax_sizes(shapes)
        else:
            sizes = _transformers_sizes(shapes, declared, family_of(family))
    except KeyError as error:
        raise StageFailed(
            "model-damaged", f"{files.weights} has no {error.args[0]}: it is not a complete model"
        ) from error
    if family != wanted:
        raise StageFailed(
            "model-mismatch",
            f"{files.weights} holds a {family_of(family).title} model of {sizes.layers} layers and model.kind says {kind}: "
            f"write kind: {kind_with(family, sizes)}",
        )
    _require_computed(files, declared, family_of(family))
    return sizes


def _family_in(files: ModelFiles, shapes: Mapping[str, Any], declared: Mapping[str, Any]) -> str:
    """Return the family of files by what they declare, else by the names of their arrays.

    Raises StageFailed `model-mismatch` for a model type that relay does not train.
    """
    if named := declared.get("model_type"):
        known = {each: name for name, family in FAMILIES.items() for each in family.model_types}
        if named in known:
            return known[named]
        close = difflib.get_close_matches(str(named), known, n=1)
        near = f" (the closest is {family_of(known[close[0]]).title})" if close else ""
        titles = ", ".join(family.title for family in FAMILIES.values())
        raise StageFailed(
            "model-mismatch",
            f"{files.weights} holds a model of type {named}, which relay does not train{near}: use one of {titles}",
        )
    if any("pre_ffw_norm" in name or "pre_feedforward_layernorm" in name for name in shapes):
        return "gemma3" if any("_key_norm" in name or "k_norm" in name for name in shapes) else "gemma2"
    found = (name for part, name in TELLING_PARTS.items() if f"model.layers.0.{part}" in shapes)
    return next(found, "llama3.2")


def _require_computed(files: ModelFiles, declared: Mapping[str, Any], family: Family) -> None:
    """Raise StageFailed `model-mismatch` if config.json declares other numbers than Tunix's model computes with."""
    for key, value in family.computed.items():
        found = declared.get(key, value)
        if found != value and found is not None:
            raise StageFailed(
                "model-mismatch",
                f"{files.weights}/config.json declares {key} {found}, and Tunix's {family.title} computes with {value}: "
                "use a model that declares that",
            )


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
                    shapes[text_name(name)] = tuple(file.get_slice(name).get_shape())
        except (OSError, safetensors.SafetensorError) as error:
            raise StageFailed("model-damaged", f"{path} cannot be read: {error}") from error
    return shapes


def text_name(name: str) -> str:
    """Return a tensor's name without the prefix that it has in a multimodal model."""
    return name.removeprefix("language_model.")


def _listed(weights: Path) -> set[Path]:
    """Return the files that the index names, all of which are needed for a complete model."""
    index = weights / "model.safetensors.index.json"
    if not index.is_file():
        return set()
    try:
        return {weights / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError) as error:
        raise StageFailed("model-damaged", f"{index} is not an index of weights") from error


def declared_config(weights: Path) -> Mapping[str, Any]:
    """Return the contents of config.json, with the text part of a multimodal model merged in;
    empty if the file is missing."""
    path = weights / "config.json"
    if not path.is_file():
        return {}
    try:
        declared: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StageFailed("model-damaged", f"{path} is not JSON: {error}") from error
    return _one_spelling({**declared, **declared.get("text_config", {})})


def _one_spelling(declared: dict[str, Any]) -> Mapping[str, Any]:
    """Return config.json's keys with the rotary parameters beside the others, as transformers 4 and 5 write them."""
    scaling = declared.get("rope_parameters") or declared.get("rope_scaling") or {}
    flat = {key: value for key, value in scaling.items() if not isinstance(value, Mapping)}
    kind = flat.pop("type", None)  # the oldest spelling of rope_type
    return {"rope_type": kind or "default", **declared, **flat}


def _transformers_sizes(shapes: Mapping[str, tuple[int, ...]], declared: Mapping[str, Any], family: Family) -> Sizes:
    vocabulary, width = shapes["model.embed_tokens.weight"]
    head_width = declared.get("head_dim") or family.head_width or width // _declared_heads(declared)
    sizes = Sizes(
        layers=_count(int(name.split(".")[2]) for name in shapes if name.startswith("model.layers.")),
        vocabulary=vocabulary,
        width=width,
        hidden=shapes["model.layers.0.mlp.gate_proj.weight"][0],
        heads=shapes["model.layers.0.self_attn.q_proj.weight"][0] // head_width,
        kv_heads=shapes["model.layers.0.self_attn.k_proj.weight"][0] // head_width,
        head_width=head_width,
        # Some files hold the output matrix of a tied model too: Qwen 3 0.6B's own do.
        tied=family.has_flax or declared.get("tie_word_embeddings", "lm_head.weight" not in shapes),
    )
    if declared.get("num_hidden_layers", sizes.layers) != sizes.layers:
        raise KeyError(f"weights of all {declared['num_hidden_layers']} layers")
    return sizes


def _declared_heads(declared: Mapping[str, Any]) -> int:
    if "num_attention_heads" not in declared:
        raise KeyError("config.json with num_attention_heads, without which the heads' width is unknown,")
    return int(declared["num_attention_heads"])


def _count(numbers: Iterator[int]) -> int:
    """Return the number of layers; raises KeyError naming a missing layer unless the numbers are 0 … n-1."""
    found = set(numbers)
    missing = set(range(max(found, default=0) + 1)) - found
    if missing:
        raise KeyError(f"layer {min(missing)}")
    return len(found)
