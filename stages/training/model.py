"""Loads a pipeline's model and tokenizer onto the mesh; reads and overwrites arrays by name."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from stages.options import Model, fit
from stages.options.families import Sizes, family_name, kind_with
from stages.session.accelerator import STAND_IN
from stages.stage import StageFailed
from stages.training import families, model_files, tokenizer
from stages.training.model_files import ModelFiles
from stages.training.model_sizes import read_sizes
from stages.training.spread import is_spread, placed
from stages.training.tokenizer import Tokenizer

Arrays = dict[str, jax.Array]
"""Parameters by name, such as `layers.0.attn.q_einsum.w`."""

WEIGHTS = nnx.All(nnx.Param, nnx.Not(nnx.LoRAParam))
"""Filter for the model's own weights; Flax counts an adapter's parameters as parameters too."""


@dataclass(frozen=True)
class Foundation:
    """Untrained model as described by `model:` in the pipeline."""

    model: nnx.Module
    tokenizer: Tokenizer
    mesh: jax.sharding.Mesh
    options: Model
    note: str
    """Summary in one line of what was loaded."""
    instruct: bool = False
    """True if the mark of the chat template ends the model's turn: see `model_files.is_instruct`."""
    stand_in: bool = False
    """True if the model is a stand-in made for rehearsals."""

    @property
    def stops(self) -> tuple[int, ...]:
        """Tokens that end an answer during generation; both kinds of models may use either."""
        return self.tokenizer.stops

    @property
    def ending(self) -> int:
        """Token that ends an answer in training data, and the last one of an example.

        The chat templates of Gemma and Qwen put a newline after the end of a turn. It is not taught,
        because generation stops before it.
        """
        return self.tokenizer.stops[-1] if self.instruct else self.tokenizer.eos_id()


def load(values: Mapping[str, Any], inputs: Path, scratch: Path) -> Foundation:
    """Load the model that the pipeline's `model:` names from its files: below `inputs`, at a
    path, or downloaded to `scratch`.

    Raises StageFailed if it cannot be loaded: `bad-options`, `accelerator-missing` (transient), `model-missing`
    (transient if it may become available), `tokenizer-missing`, `model-damaged`, `model-mismatch`, `mesh-unfit`.
    """
    try:
        options = fit(Model, values, "model")
    except ValueError as error:
        raise StageFailed("bad-options", str(error)) from error
    mesh = _mesh(options)
    files = model_files.find(options, inputs, scratch)
    sizes = read_sizes(files, options.kind)
    special = options.family.tokens
    pieces = tokenizer.read(files.tokenizer, options.kind)
    instruct = model_files.is_instruct(options, files, pieces.piece_id(special.turns[1]))
    note = f"{_note(options, files, sizes)}; answers end in {special.turns[1] if instruct else special.end}"
    if pieces.size > sizes.vocabulary:
        raise StageFailed(
            "model-mismatch",
            f"{files.tokenizer} has {pieces.size} tokens and the model's vocabulary {sizes.vocabulary}: "
            "it is another model's",
        )
    model = families.read(files, options.kind, sizes, options, mesh)
    return Foundation(model, pieces, mesh, options, note, instruct, files.made_up)


def arrays_of(module: nnx.Module, kind: Any = WEIGHTS) -> Arrays:
    """Return a module's variables of one kind by name, with their current values."""
    return {_name(path): variable.get_value() for path, variable in nnx.to_flat_state(nnx.state(module, kind))}


def put_arrays(module: nnx.Module, values: Mapping[str, Any], kind: Any = WEIGHTS) -> None:
    """Overwrite a module's variables of one kind, keeping their shardings; names, shapes and types must match."""
    flat = nnx.to_flat_state(nnx.state(module, kind))
    missing = {_name(path) for path, _ in flat} ^ set(values)
    if missing:
        raise StageFailed("checkpoint-does-not-fit", f"the state differs from the model in {sorted(missing)[:3]}")
    nnx.update(module, nnx.from_flat_state([(path, _filled(path, old, values[_name(path)])) for path, old in flat]))


def place(module: nnx.Module, mesh: jax.sharding.Mesh) -> None:
    """Lay every variable out on the mesh as its annotation says, so that no later step has to move it."""
    state = nnx.state(module)
    specs = nnx.get_partition_spec(state)
    layout = jax.tree.map(lambda spec: jax.sharding.NamedSharding(mesh, spec or jax.sharding.PartitionSpec()), specs)
    nnx.update(module, jax.tree.map(placed, state, layout))


def copy_of(module: nnx.Module) -> nnx.Module:
    """Copy a module with its arrays, for use while a trainer may donate the original's memory."""
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
    # An uncommitted counter stays uncommitted: bound to the first device, it could not be used on a mesh of several.
    return old.replace(placed(value, now.sharding if now.committed else None))


def _mesh(options: Model) -> jax.sharding.Mesh:
    shape = (options.mesh_fsdp, options.mesh_tp)
    wanted, found = shape[0] * shape[1], jax.devices()
    if len(found) < wanted:
        raise StageFailed(
            "accelerator-missing",
            f"the model is laid out on {wanted} devices and this session has {len(found)}",
            transient=True,
        )
    if is_spread() and len(found) > wanted:
        raise StageFailed(
            "mesh-unfit",
            f"the model is laid out on {wanted} of the {len(found)} devices of this session's {jax.process_count()} processes, "
            f"each of which needs its part: make mesh_fsdp × mesh_tp {len(found)}",
        )
    return jax.sharding.Mesh(np.array(found[:wanted]).reshape(shape), ("fsdp", "tp"))


def _note(options: Model, files: ModelFiles, sizes: Sizes) -> str:
    """Describe the model that was found; raises StageFailed if a kind with a size in its
    name does not have that size."""
    made_up = "STAND-IN MODEL, made up for rehearsals: " if files.made_up else ""
    found = f"{made_up}model: {options.kind} from {files.weights} ({files.layout}, {options.dtype}): {sizes}"
    wanted = families.full_size(options.kind, sizes.vocabulary) if options.kind in families.FULL_SIZE else sizes
    if sizes == wanted:
        return found
    if os.environ.get(STAND_IN) == "1":
        return f"{found}; it stands in for one with {wanted}"
    raise StageFailed(
        "model-mismatch",
        f"model.kind {options.kind} has {wanted}, and {files.weights} has {sizes}: say kind: "
        f"{kind_with(family_name(options.kind), sizes)} to train that",
    )
