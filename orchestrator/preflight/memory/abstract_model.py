"""The session's model as shapes, dtypes and shardings, without contents."""

import dataclasses
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import qwix
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from orchestrator.preflight.memory.programs import Program
from stages.options import Model
from stages.training import families, model_files
from stages.training.model_sizes import read_sizes


class CannotLower(Exception):
    """The program cannot be lowered; the message is one sentence for the user."""


def mesh_of(options: Model) -> jax.sharding.Mesh:
    """Return the pipeline's mesh over the emulated devices."""
    shape = (options.mesh_fsdp, options.mesh_tp)
    return jax.sharding.Mesh(np.array(jax.devices()[: shape[0] * shape[1]]).reshape(shape), ("fsdp", "tp"))


def abstract_model(config: Any, options: Model, program: Program, mesh: jax.sharding.Mesh) -> nnx.Module:
    """Return the session's model with the program's adapter: shapes, dtypes and shardings without contents."""
    kind = families.model_class(options.kind)
    module = nnx.eval_shape(lambda: kind(config, rngs=nnx.Rngs(0)))
    state = nnx.state(module)
    nnx.update(module, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(options.dtype)), state))
    if program.rank + program.held:
        module = _adapted(module, program)
    lay_out(module, mesh)
    return module


def model_config(options: Model) -> Any:
    """Return the configuration of the size that the kind names, else of the model's files."""
    if options.kind in families.FULL_SIZE:
        return families.full_size_config(options.kind, options)
    with TemporaryDirectory() as empty:
        files = model_files.find(options, Path(empty), Path(empty))
        return families.config_of(options.kind, read_sizes(files, options.kind), options)


def _adapted(module: nnx.Module, program: Program) -> nnx.Module:
    provider = qwix.LoraProvider(module_path=program.targets, rank=program.rank + program.held, alpha=1.0)
    graph, state = nnx.split(module)

    def adapted(weights: Any) -> nnx.Module:
        whole = nnx.merge(graph, weights)
        return qwix.apply_lora_to_model(whole, provider, **whole.get_model_input(), rngs=nnx.Rngs(params=0))

    with _without_slow_errors():
        found = nnx.eval_shape(adapted, state)
    if not jax.tree.leaves(nnx.state(found, nnx.LoRAParam)):
        raise CannotLower(f"lora_targets {program.targets!r} matches no module of the model: correct the expression")
    return found


@contextmanager
def _without_slow_errors() -> Iterator[None]:
    """Skip JAX's slow error messages.

    Qwix queries the sharding of every traced value; JAX's answer, an error with a history of all operations, takes 14
    s.
    """
    from jax._src.interpreters.partial_eval import DynamicJaxprTracer

    before = DynamicJaxprTracer._origin_msg
    DynamicJaxprTracer._origin_msg = lambda self: ""
    try:
        yield
    finally:
        DynamicJaxprTracer._origin_msg = before


def lay_out(module: Any, mesh: jax.sharding.Mesh) -> None:
    """Give each variable the sharding of its annotation, as `stages.training.model.place` does.

    Raises CannotLower if a dimension is not divisible.
    """
    state = nnx.state(module)
    specs = dict(nnx.to_flat_state(nnx.get_partition_spec(state)))
    filled = []
    for path, leaf in nnx.to_flat_state(state):
        spec = specs[path].get_value() or PartitionSpec()
        for length, axis in zip(leaf.shape, spec, strict=False):
            if axis is not None and length % mesh.shape[axis]:
                name = ".".join(str(part) for part in path)
                raise CannotLower(
                    f"{name} {leaf.shape} cannot be split along {mesh.shape[axis]} devices: change model.mesh_{axis}"
                )
        laid = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))
        filled.append((path, leaf.replace(laid)))
    nnx.update(module, nnx.from_flat_state(filled))


@contextmanager
def activations_laid_out(mesh: jax.sharding.Mesh) -> Iterator[None]:
    """Apply the shardings of activations, which Tunix's models omit on CPUs: the devices here stand for TPUs."""

    def shard(value: Any, names: tuple[str | None, ...], eager: bool = False) -> Any:
        return jax.lax.with_sharding_constraint(value, NamedSharding(mesh, PartitionSpec(*names)))

    places = [importlib.import_module(name) for name in sorted({port.shards for port in families.ports()})]
    before = [place.shard for place in places]
    for place in places:
        place.shard = shard  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for place, function in zip(places, before, strict=True):
            place.shard = function  # type: ignore[attr-defined]


def size(tree: Any) -> tuple[int, int]:
    """Return the exact bytes of arrays (on one chip, in total)."""
    chip = whole = 0
    for leaf in jax.tree.leaves(tree):
        one = np.prod(leaf.sharding.shard_shape(leaf.shape), dtype=np.int64)
        chip += int(one) * leaf.dtype.itemsize
        whole += int(np.prod(leaf.shape, dtype=np.int64)) * leaf.dtype.itemsize
    return chip, whole


def largest(tree: Any) -> tuple[int, int]:
    """Return the bytes of the largest array (on one chip, in total)."""
    return max((size(leaf) for leaf in jax.tree.leaves(tree)), key=lambda each: each[1], default=(0, 0))


def shortened(config: Any, layers: int) -> Any:
    """Return the configuration of a model with only the first `layers` layers."""
    kinds = getattr(config, "attention_types", None)
    changes = {} if kinds is None else {"attention_types": kinds[:layers]}
    return dataclasses.replace(config, num_layers=min(layers, config.num_layers), **changes)


def vocabulary_of(config: Any) -> int:
    """Return the number of rows of the embedding."""
    rows: int = getattr(config, _vocabulary_field(config))
    return rows


def with_vocabulary(config: Any, rows: int) -> Any:
    """Return the configuration with another number of rows of the embedding."""
    return dataclasses.replace(config, **{_vocabulary_field(config): rows})


def _vocabulary_field(config: Any) -> str:
    return "num_embed" if hasattr(config, "num_embed") else "vocab_size"  # Gemma's, all others'
