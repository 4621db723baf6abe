"""Loads Gemma 2 and Gemma 3 with Tunix: configurations by size, and conversion of model files to arrays on the mesh."""

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from tunix.models.gemma import model as gemma2
from tunix.models.gemma import params_safetensors as gemma2_safetensors
from tunix.models.gemma3 import model as gemma3
from tunix.models.gemma3 import params as gemma3_params
from tunix.models.gemma3 import params_safetensors as gemma3_safetensors

from stages.options import Model
from stages.stage import StageFailed
from stages.training import compat
from stages.training.model_files import ModelFiles
from stages.training.model_sizes import Sizes, flax_leaves, flax_tree

FULL_SIZE = ("gemma2-2b", "gemma3-1b")
"""Kinds that require model files of the size in the name."""

PRESETS = {
    "gemma2": ("gemma2_2b", "gemma2_9b"),
    "gemma3": ("gemma3_1b_it", "gemma3_270m_it", "gemma3_4b_it", "gemma3_12b_it", "gemma3_27b_it"),
}
"""Tunix's configurations by family. The first one has the size in the kind's name, and is the
template for unknown sizes."""


def full_size_config(kind: str, options: Model) -> Any:
    """Return Tunix's `ModelConfig` of Gemma 2 2B or Gemma 3 1B, with the options' type and rematerialisation.

    `kind` is one of `stages.options.model.KINDS`; a kind without a size in its name gets
    that of its family's model above.
    """
    return _with_options(_preset(kind, PRESETS[_family(kind)][0]), kind, options)


def model_class(kind: str) -> Any:
    """Return the Flax module class for `full_size_config(kind, …)`: `model_class(kind)(config, rngs=nnx.Rngs(0))`."""
    return compat.gemma2_class() if _family(kind) == "gemma2" else gemma3.Gemma3


def full_size(kind: str, vocabulary: int) -> Sizes:
    """Return the sizes named by a kind. Gemma 2's embedding has 256,128 rows on Kaggle and 256,000 at Hugging Face."""
    sizes = _sizes_of(_preset(kind, PRESETS[_family(kind)][0]))
    same = _family(kind) == "gemma2" and vocabulary == 256_000
    return dataclasses.replace(sizes, vocabulary=vocabulary) if same else sizes


def read(files: ModelFiles, kind: str, sizes: Sizes, options: Model, mesh: jax.sharding.Mesh) -> nnx.Module:
    """Load the model with the files' weights in the options' type, placed on the mesh as Tunix annotates them.

    Raises StageFailed `model-damaged` if the files cannot be read, `mesh-unfit` if the mesh
    does not divide a weight evenly.
    """
    config = config_of(kind, sizes, options)
    model = nnx.eval_shape(lambda: model_class(kind)(config, rngs=nnx.Rngs(0)))
    layout = _layout(model, mesh)
    try:
        if files.layout == "flax":
            arrays = _from_flax(files.weights, kind, sizes)
        else:
            arrays = _from_transformers(files.weights, kind, config, mesh, options.dtype)
        _put(model, arrays, layout, options.dtype)
    except (OSError, ValueError, AssertionError, KeyError) as error:  # raised by Orbax, Tunix and JAX for bad files
        reason = str(error).strip().partition("\n")[0][:300]
        raise StageFailed("model-damaged", f"{files.weights} is not a complete model: {reason}") from error
    return model


@contextmanager
def without_remat(model: nnx.Module) -> Iterator[None]:
    """Disable the model's rematerialisation within the `with` block; a sampler made inside keeps the setting.

    Rematerialisation is only needed for a backward pass, and Flax rejects it inside the loop of Tunix's sampler.
    """
    changed: list[tuple[nnx.Module, str, Any]] = []
    for _, module in nnx.iter_modules(model):
        for name in ("remat_config", "config"):
            value: Any = getattr(module, name, None)
            if isinstance(value, enum.Enum):
                changed.append((module, name, value))
                setattr(module, name, type(value)["NONE"])
            elif hasattr(value, "remat_config"):
                changed.append((module, name, value))
                setattr(module, name, dataclasses.replace(value, remat_config=type(value.remat_config)["NONE"]))
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)


def _family(kind: str) -> str:
    return kind.partition("-")[0]


def _module(kind: str) -> ModuleType:
    module: ModuleType = gemma2 if _family(kind) == "gemma2" else gemma3
    return module


def _preset(kind: str, name: str) -> Any:
    return getattr(gemma2.ModelConfig, name)() if _family(kind) == "gemma2" else compat.gemma3_config(name)()


def _sizes_of(config: Any) -> Sizes:
    return Sizes(
        layers=config.num_layers,
        vocabulary=config.num_embed,
        width=config.embed_dim,
        hidden=config.hidden_dim,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        head_width=config.head_dim,
    )


def config_of(kind: str, sizes: Sizes, options: Model) -> Any:
    """Return Tunix's configuration of the most similar model of the family, changed to these sizes."""
    presets = [_preset(kind, name) for name in PRESETS[_family(kind)]]
    alike = [preset for preset in presets if (preset.num_layers, preset.embed_dim) == (sizes.layers, sizes.width)]
    changes: dict[str, Any] = {
        "num_layers": sizes.layers,
        "num_embed": sizes.vocabulary,
        "embed_dim": sizes.width,
        "hidden_dim": sizes.hidden,
        "num_heads": sizes.heads,
        "num_kv_heads": sizes.kv_heads,
        "head_dim": sizes.head_width,
    }
    if _family(kind) == "gemma2":  # Gemma 3's module contains its pattern
        pattern = (gemma2.AttentionType.LOCAL_SLIDING, gemma2.AttentionType.GLOBAL)
        changes["attention_types"] = tuple(pattern[layer % 2] for layer in range(sizes.layers))
    return _with_options(dataclasses.replace((alike or presets)[0], **changes), kind, options)


def _with_options(config: Any, kind: str, options: Model) -> Any:
    remat = _module(kind).RematConfig
    changes = {"remat_config": remat.BLOCK if options.remat == "block" else remat.NONE}
    if _family(kind) == "gemma3":  # Gemma 2 takes the type of its arrays
        changes["param_dtype"] = jnp.dtype(options.dtype)
    return dataclasses.replace(config, **changes)


def _from_flax(weights: Path, kind: str, sizes: Sizes) -> dict[str, Any]:
    """Read the arrays to the host, by Tunix's names. Tunix's own readers would first put a
    whole copy on the first device."""
    wanted = flax_tree(weights)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.restore(weights, args=ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy))
    if _family(kind) == "gemma3":
        return dict(_dotted(gemma3_params.map_from_upstream_checkpoint(tree)))
    return {
        name: array for module, leaf, value in flax_leaves(tree) for name, array in _gemma2(module, leaf, value, sizes)
    }


def _gemma2(module: str, leaf: str, value: Any, sizes: Sizes) -> Iterator[tuple[str, Any]]:
    """Yield (name in Tunix's Gemma 2, array) for one array, as `Gemma.from_params`, which
    supports only fixed sizes, does."""
    _, *places = module.split("/")
    path = [f"layers.{place[len('layer_') :]}" if place.startswith("layer_") else place for place in places]
    match path[-1]:
        case "gating_einsum":
            both = value if value.shape[1] == sizes.width else value.swapaxes(1, 2)  # Gemma 2 9B's is transposed
            yield ".".join([*path[:-1], "gate_proj.kernel"]), both[0]
            yield ".".join([*path[:-1], "up_proj.kernel"]), both[1]
        case "linear":
            yield ".".join([*path[:-1], "down_proj.kernel"]), value
        case "post_attention_norm":
            yield ".".join([*path[:-1], "post_attn_norm", leaf]), value
        case _:
            yield ".".join([*path, leaf]), value


def _dotted(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _from_transformers(weights: Path, kind: str, config: Any, mesh: jax.sharding.Mesh, dtype: str) -> dict[str, Any]:
    reader = gemma2_safetensors if _family(kind) == "gemma2" else gemma3_safetensors
    model = reader.create_model_from_safe_tensors(str(weights), config, mesh, dtype=jnp.dtype(dtype).type)
    return {
        ".".join(str(part) for part in path): leaf.get_value()
        for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))
    }


def _layout(model: nnx.Module, mesh: jax.sharding.Mesh) -> dict[str, jax.sharding.NamedSharding]:
    """Return the sharding of each array by name; raises StageFailed if an array cannot be split evenly."""
    state = nnx.state(model)
    specs = dict(nnx.to_flat_state(nnx.get_partition_spec(state)))
    found = {}
    for path, leaf in nnx.to_flat_state(state):
        name = ".".join(str(part) for part in path)
        spec = specs[path].get_value() or jax.sharding.PartitionSpec()
        found[name] = jax.sharding.NamedSharding(mesh, spec)
        for size, axis in zip(leaf.shape, spec, strict=False):
            if axis is not None and size % mesh.shape[axis]:
                raise StageFailed(
                    "mesh-unfit",
                    f"{name} {leaf.shape} cannot be split along {mesh.shape[axis]} devices: change mesh_{axis}",
                )
    return found


def _put(model: nnx.Module, arrays: Mapping[str, Any], layout: Mapping[str, Any], dtype: str) -> None:
    filled = []
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        name = ".".join(str(part) for part in path)
        array = arrays[name]
        if tuple(array.shape) != tuple(leaf.shape):
            raise ValueError(f"{name} is {tuple(array.shape)} and should be {tuple(leaf.shape)}")
        # One array at a time, straight from the host to its devices: no device ever holds a second model.
        filled.append((path, leaf.replace(jax.device_put(array.astype(jnp.dtype(dtype), copy=False), layout[name]))))
    nnx.update(model, nnx.from_flat_state(filled))
