"""Builds and loads every family of models with Tunix: one port for each entry of `stages.options.families`."""

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from stages.options import Model
from stages.options.families import FAMILIES, FULL_SIZE, Sizes, family_name, sizes_of
from stages.stage import StageFailed
from stages.training.model_files import ModelFiles
from stages.training.model_sizes import declared_config
from stages.training.port import Port
from stages.training.spread import placed

__all__ = [
    "FULL_SIZE",
    "config_of",
    "full_size",
    "full_size_config",
    "model_class",
    "port_of",
    "ports",
    "read",
    "without_remat",
]


def port_of(kind: str) -> Port:
    """Return the port of a kind's family. Only that family's part of Tunix is imported."""
    match family_name(kind):
        case "gemma2" | "gemma3" as name:
            from stages.training import gemma

            return gemma.PORTS[name]
        case "qwen2.5" | "qwen3" as name:
            from stages.training import qwen

            return qwen.PORTS[name]
        case "llama3.2":
            from stages.training import llama

            return llama.PORT
        case name:
            raise AssertionError(f"{name} is in the table of families and has no port")


def ports() -> list[Port]:
    """Return the ports of all families."""
    return [port_of(name) for name in FAMILIES]


def full_size_config(kind: str, options: Model) -> Any:
    """Return Tunix's `ModelConfig` of the size that a kind names, with the options' type and rematerialisation.

    `kind` is one of `stages.options.families.KINDS`; a kind without a size in its name gets the first one of its family.
    """
    return config_of(kind, sizes_of(kind), options)


def model_class(kind: str) -> Any:
    """Return the Flax module class for `full_size_config(kind, …)`: `model_class(kind)(config, rngs=nnx.Rngs(0))`."""
    return port_of(kind).module_class


def full_size(kind: str, vocabulary: int) -> Sizes:
    """Return the sizes named by a kind. Gemma 2's embedding has 256,128 rows on Kaggle and 256,000 at Hugging Face."""
    same = family_name(kind) == "gemma2" and vocabulary == 256_000
    return dataclasses.replace(sizes_of(kind), vocabulary=vocabulary) if same else sizes_of(kind)


def config_of(kind: str, sizes: Sizes, options: Model) -> Any:
    """Return Tunix's `ModelConfig` for a model of these sizes."""
    return port_of(kind).config(sizes, options)


def read(files: ModelFiles, kind: str, sizes: Sizes, options: Model, mesh: jax.sharding.Mesh) -> nnx.Module:
    """Load the model with the files' weights in the options' type, placed on the mesh as Tunix annotates them.

    Raises StageFailed `model-damaged` if the files cannot be read, `mesh-unfit` if the mesh
    does not divide a weight evenly.
    """
    config = config_of(kind, sizes, options)
    _require_same_attention(files, config)
    model = nnx.eval_shape(lambda: model_class(kind)(config, rngs=nnx.Rngs(0)))
    layout = _layout(model, mesh)
    try:
        port = port_of(kind)
        if files.layout == "flax" and port.flax is not None:
            arrays = port.flax(files.weights, sizes)
        else:
            arrays = _from_transformers(files.weights, port, config, mesh, options.dtype)
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


def _require_same_attention(files: ModelFiles, config: Any) -> None:
    """Raise StageFailed `model-mismatch` if config.json declares another window or scaling than Tunix's Gemma computes with.

    Tunix's configuration of Gemma 3 has them by size; a model of a size of its own is given those of Gemma 3 1B.
    """
    declared = {} if files.layout == "flax" else declared_config(files.weights)
    for key, name in (("sliding_window", "sliding_window_size"), ("factor", "global_scale_factor")):
        found, computed = declared.get(key), getattr(config, name, None)
        if found is not None and computed is not None and found != computed:
            raise StageFailed(
                "model-mismatch",
                f"{files.weights}/config.json declares {key} {found:g}, and Tunix computes a model of this size with "
                f"{computed:g}: use a model that declares that",
            )


def _from_transformers(weights: Path, port: Port, config: Any, mesh: jax.sharding.Mesh, dtype: str) -> dict[str, Any]:
    model = port.safetensors.create_model_from_safe_tensors(str(weights), config, mesh, dtype=jnp.dtype(dtype).type)
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
        filled.append((path, leaf.replace(placed(array.astype(jnp.dtype(dtype), copy=False), layout[name]))))
    nnx.update(model, nnx.from_flat_state(filled))
