"""Writes and reads the training state that exact resume needs: Orbax stores the arrays, a
small JSON file describes them.

    state.json      names of the items, counters, and the pins of the data
    arrays/         Orbax composite:
      base          the model's weights, only if training changed them (else they come from the pipeline's `model:`)
      adapter_N     low-rank adapters in the order in which they were trained
      optimizer     the optimizer's state with its counts
      origin_…      the model that a stage of full training started from, if it is the stage's reference
    artifacts/      readable texts, also used by later stages

Digests are computed from the numbers, not the files: equal numbers have equal digests, however Orbax stores them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from stages.contract import ARTIFACTS_DIRECTORY
from stages.stage import StageFailed
from stages.training import finite
from stages.training.lora import Adapter
from stages.training.spread import on_host

FORMAT = 1
CHUNK_BYTES = 64 * 2**20
"""Largest chunk of an array in a checkpoint's files, in bytes."""
NOT_FINITE = "{name} is not finite after {after}, so no checkpoint is made of it: lower learning_rate or clip_norm"
TOKENIZER_PIN = "tokenizer"
"""Name under which a run pins its tokenizer."""


@dataclass(frozen=True)
class Weights:
    """Weights of a model: base weights (None: as loaded by the pipeline's `model:`) and adapters, oldest first."""

    base: Mapping[str, Any] | None = None
    adapters: tuple[Adapter, ...] = ()


@dataclass(frozen=True)
class TrainingState:
    """Complete state of a stage between two steps.

    `made` is the digest of the base weights as loaded by `model:`; a changed model is thereby noticed before training.
    """

    weights: Weights
    made: str
    origin: Weights | None = None
    optimizer: Mapping[str, Any] | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Readable texts by file name, also used by later stages: the hard subset, transcripts."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Record of what the run has read of its data sets so far; its format is described in `stages.data.pins`."""


def held(state: TrainingState) -> TrainingState:
    """Copy the state to separate memory on the host: the next step may overwrite or donate the original arrays.

    All copies from the devices are started before the first one is waited for.
    """
    for arrays in _items(state).values():
        for array in arrays.values():
            if isinstance(array, jax.Array):
                array.copy_to_host_async()

    def weights(before: Weights | None) -> Weights | None:
        if before is None:
            return None
        adapters = tuple(replace(adapter, arrays=_copied(adapter.arrays)) for adapter in before.adapters)
        return Weights(None if before.base is None else _copied(before.base), adapters)

    optimizer = None if state.optimizer is None else _copied(state.optimizer)
    return replace(
        state, weights=weights(state.weights) or Weights(), origin=weights(state.origin), optimizer=optimizer
    )


def _copied(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Copy device arrays to the host. Arrays already on the host come from a checkpoint and never change."""
    return {n: np.array(array) if isinstance(array, jax.Array) else array for n, array in arrays.items()}


def not_finite(state: TrainingState) -> str:
    """Return the first array of a host state that contains a non-finite number, such as
    `optimizer mu/w`; otherwise empty."""
    found = ((item, finite.not_finite(arrays)) for item, arrays in _items(state).items())
    return next((f"{item} {name}" for item, name in found if name), "")


def write(state: TrainingState, directory: Path, after: str = "this step") -> dict[str, str]:
    """Write everything into an empty directory; returns `digests(state)`.

    Raises StageFailed `not-a-number`, before writing, if a weight or a moment is not finite; `after`
    names the step in its message.
    """
    if name := not_finite(state):
        raise StageFailed("not-a-number", NOT_FINITE.format(name=name, after=after))
    saves = save_args(state)
    if saves:
        with ocp.Checkpointer(handler(saves)) as checkpointer:
            checkpointer.save((directory / "arrays").absolute(), args=ocp.args.Composite(**saves))
    describe(state, directory)
    return digests(state)


def save_args(state: TrainingState) -> dict[str, Any]:
    """Return Orbax's arguments for saving each item of a state, by name."""
    items = {name: dict(arrays) for name, arrays in _items(state).items()}
    return {name: ocp.args.PyTreeSave(arrays, save_args=_in_chunks(arrays)) for name, arrays in items.items()}


def describe(state: TrainingState, directory: Path) -> None:
    """Write everything but the arrays: `state.json` and the artifacts."""
    items = sorted(_items(state))
    text = json.dumps({"format": FORMAT, "items": items, **_description(state)}, sort_keys=True, indent=1)
    (directory / "state.json").write_text(text, encoding="ascii")
    for name, artifact in state.artifacts.items():
        (directory / ARTIFACTS_DIRECTORY).mkdir(exist_ok=True)
        (directory / ARTIFACTS_DIRECTORY / name).write_text(artifact, encoding="utf-8")


def _in_chunks(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that split large arrays into chunks, so that a reader need not decode a whole array at once."""
    return {name: ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES) for name in arrays}


def read(directory: Path, *, alone: bool = False) -> TrainingState:
    """Read the state that `write` wrote, with arrays on the host; raises StageFailed for an unknown format.

    In a session of several processes all of them must call this, unless `alone`: then this one reads without the others.
    """
    about = json.loads((directory / "state.json").read_text(encoding="ascii"))
    if about["format"] != FORMAT:
        raise StageFailed("checkpoint-format", f"the state has format {about['format']}, and this relay reads {FORMAT}")
    items = _arrays(directory / "arrays", about["items"], alone=alone)
    return TrainingState(
        weights=_weights(items, "", about["adapters"]),
        made=about["made"],
        origin=None if about["origin"] is None else _weights(items, "origin_", about["origin"]),
        optimizer=items.get("optimizer"),
        counters=about["counters"],
        data=about["data"],
        artifacts={
            path.name: path.read_text(encoding="utf-8") for path in sorted((directory / ARTIFACTS_DIRECTORY).glob("*"))
        },
    )


def without_history(state: TrainingState) -> TrainingState:
    """Return the state of another run without what belongs to that run: counters, artifacts, and all pins of data but
    the tokenizer's."""
    data = {name: pin for name, pin in state.data.items() if name == TOKENIZER_PIN}
    return replace(state, counters={}, artifacts={}, data=data)


def digests(state: TrainingState) -> dict[str, str]:
    """Compute the SHA-256 of `weights` (base and adapters separately), `adapter` (the last one), `optimizer`,
    `counters`, `artifacts` and `data`."""
    base = state.made if state.weights.base is None else tree_digest(state.weights.base)
    adapters = [tree_digest(adapter.arrays) for adapter in state.weights.adapters]
    lines = [f"base {base}"]
    for adapter, digest in zip(state.weights.adapters, adapters, strict=True):
        lines.append(f"adapter {adapter.rank} {adapter.alpha!r} {digest}")
    found = {"weights": hashlib.sha256("\n".join(lines).encode()).hexdigest()}
    if adapters:
        found["adapter"] = adapters[-1]
    if state.optimizer is not None:
        found["optimizer"] = tree_digest(state.optimizer)
    if state.counters:
        found["counters"] = hashlib.sha256(json.dumps(dict(state.counters), sort_keys=True).encode()).hexdigest()
    if state.artifacts:
        found["artifacts"] = hashlib.sha256(json.dumps(dict(state.artifacts), sort_keys=True).encode()).hexdigest()
    if state.data:
        found["data"] = hashlib.sha256(json.dumps(dict(state.data), sort_keys=True).encode()).hexdigest()
    return found


def tree_digest(arrays: Mapping[str, Any]) -> str:
    """Compute the SHA-256 over name, type, shape and bytes of every array, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = on_host(arrays[name])
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _items(state: TrainingState) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for prefix, weights in (("", state.weights), ("origin_", state.origin)):
        if weights is None:
            continue
        if weights.base is not None:
            found[f"{prefix}base"] = weights.base
        for number, adapter in enumerate(weights.adapters):
            found[f"{prefix}adapter_{number}"] = adapter.arrays
    if state.optimizer is not None:
        found["optimizer"] = state.optimizer
    return found


def _description(state: TrainingState) -> dict[str, Any]:
    def adapters(weights: Weights) -> list[dict[str, Any]]:
        return [{"rank": adapter.rank, "alpha": adapter.alpha} for adapter in weights.adapters]

    return {
        "made": state.made,
        "adapters": adapters(state.weights),
        "origin": None if state.origin is None else adapters(state.origin),
        "counters": dict(state.counters),
        "data": dict(state.data),
    }


def _arrays(directory: Path, names: list[str], *, alone: bool) -> dict[str, dict[str, Any]]:
    if not names:
        return {}
    this = jax.process_index() if alone else 0
    options = ocp.options.MultiprocessingOptions(primary_host=this, active_processes={this} if alone else None)
    with ocp.Checkpointer(handler(names, options), multiprocessing_options=options) as checkpointer:
        structure = checkpointer.metadata(directory.absolute()).item_metadata
        wanted = {name: _to_host(structure[name]) for name in names}
        restored = checkpointer.restore(directory.absolute(), args=ocp.args.Composite(**wanted))
    return {name: dict(restored[name]) for name in names}


def handler(names: Iterable[str], options: Any = None) -> Any:
    """Return Orbax's handler of a checkpoint with these items."""
    options = options or ocp.options.MultiprocessingOptions()
    items = {name: ocp.PyTreeCheckpointHandler(multiprocessing_options=options) for name in names}
    together = ocp.CompositeOptions(multiprocessing_options=options)
    return ocp.CompositeCheckpointHandler(composite_options=together, **items)


def _to_host(metadata: Any) -> Any:
    # NumPy arrays, so that reading does not depend on the devices that wrote; `put_arrays` moves them to the mesh.
    tree = dict(metadata.tree)
    return ocp.args.PyTreeRestore(
        item=tree, restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in tree}
    )


def _weights(items: Mapping[str, Any], prefix: str, adapters: list[dict[str, Any]]) -> Weights:
    return Weights(
        base=items.get(f"{prefix}base"),
        adapters=tuple(
            Adapter(rank=adapter["rank"], alpha=adapter["alpha"], arrays=items[f"{prefix}adapter_{number}"])
            for number, adapter in enumerate(adapters)
        ),
    )
