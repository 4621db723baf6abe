"""Reads the weights of a trained model array by array: base weights with every adapter merged in float32."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from stages.formats.lazy_arrays import Array, LazyArray, Read, orbax_arrays, safetensors_arrays
from stages.formats.names import EMBEDDING, from_matrices, matrices, place_of
from stages.options import Model
from stages.options.families import Sizes
from stages.stage import StageFailed
from stages.training import families, lora
from stages.training.checkpoints import FORMAT, Weights
from stages.training.lora import Adapter
from stages.training.model_files import ModelFiles
from stages.training.model_sizes import read_sizes, text_name


class ReadWhole(Mapping[str, Array]):
    """Arrays that are read anew, each as a whole, whenever they are looked up."""

    def __init__(self, arrays: Mapping[str, LazyArray]) -> None:
        self.arrays = arrays

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name].whole()

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


@dataclass(frozen=True)
class StoredState:
    """Weights in an unpacked checkpoint: `base` is None where training did not change the base weights.

    `made` is the digest of the base weights that the run began with (`checkpoints.tree_digest`).
    """

    made: str
    base: Mapping[str, LazyArray] | None
    adapters: tuple[Adapter, ...]
    data: Mapping[str, Any]
    """Pins of the run's data and tokenizer: see `stages.data.pins`."""

    def in_memory(self) -> Weights:
        """Return the weights with the adapters in memory; arrays of the base are read whenever they are looked up."""
        adapters = (Adapter(each.rank, each.alpha, dict(each.arrays)) for each in self.adapters)
        return Weights(None if self.base is None else ReadWhole(self.base), tuple(adapters))


def stored_state(directory: Path) -> StoredState:
    """Open the state in an unpacked checkpoint. Raises StageFailed `nothing-to-export` if no stage of relay wrote it."""
    try:
        about = json.loads((directory / "state.json").read_text(encoding="ascii"))
        found, items, adapters, made, data = (about[key] for key in ("format", "items", "adapters", "made", "data"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageFailed(
            "nothing-to-export", "the checkpoint holds no model that relay's own stages trained"
        ) from error
    if found != FORMAT:
        raise StageFailed("checkpoint-format", f"the state has format {found}, and this relay reads {FORMAT}")
    arrays = directory / "arrays"
    opened = (
        Adapter(adapter["rank"], adapter["alpha"], ReadWhole(orbax_arrays(arrays / f"adapter_{number}")))
        for number, adapter in enumerate(adapters)
    )
    base = orbax_arrays(arrays / "base") if "base" in items else None
    return StoredState(made, base, tuple(opened), data)


@dataclass(frozen=True)
class TrainedWeights:
    """A model's weights by Tunix's names. `options` and `files` are those of the base model."""

    options: Model
    files: ModelFiles
    state: StoredState

    @cached_property
    def sizes(self) -> Sizes:
        """Sizes of the model; raises StageFailed if the files are not of the model's kind."""
        return read_sizes(self.files, self.options.kind)

    @cached_property
    def config(self) -> Any:
        """Tunix's configuration of the model."""
        return families.config_of(self.options.kind, self.sizes, self.options)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each weight by name, in the order of the names."""
        model = nnx.eval_shape(lambda: families.model_class(self.options.kind)(self.config, rngs=nnx.Rngs(0)))
        flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
        return dict(sorted((".".join(map(str, path)), tuple(leaf.shape)) for path, leaf in flat))

    def blocks(self) -> Iterator[tuple[str, Array]]:
        """Yield the name and consecutive blocks of rows of each weight, in float32, in the order of `shapes`.

        Raises StageFailed: `model-damaged` if the base weights cannot be read, `model-changed` after the last block if
        they are not those that the run began with.
        """
        digest = hashlib.sha256()
        try:
            base = self.state.base or _base_arrays(self.files, self.options, self.shapes)
            for name, shape in self.shapes.items():
                if base[name].shape != shape:
                    raise ValueError(f"{name} is {base[name].shape} and should be {shape}")
                for block in self._merged(name, base[name], digest):
                    yield name, block
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0][:300]
            raise StageFailed("model-damaged", f"{self.files.weights} is not a complete model: {reason}") from error
        if self.state.base is None and digest.hexdigest() != self.state.made:
            raise StageFailed(
                "model-changed",
                f"{self.files.weights} has not the weights that the run started from: they have SHA-256 "
                f"{digest.hexdigest()[:12]}…, and the run's had {self.state.made[:12]}…",
            )

    def _merged(self, name: str, base: LazyArray, digest: Any) -> Iterator[Array]:
        dtype = np.dtype(jnp.dtype(self.options.dtype)) if self.state.base is None else base.dtype
        digest.update(f"{name}\0{dtype}\0{base.shape}\0".encode())
        adapted = any(f"{name}_lora_a" in adapter.arrays for adapter in self.state.adapters)
        for block in [base.whole()] if adapted else base.blocks():
            loaded = np.ascontiguousarray(block.astype(dtype, copy=False))  # the session rounds files to its type too
            digest.update(bytes_of(loaded))
            exact = loaded.astype(np.float32, copy=False)
            yield np.asarray(lora.merged(name, jnp.asarray(exact), self.state.adapters)) if adapted else exact


def bytes_of(array: Array) -> memoryview:
    """Return the bytes of a contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def _base_arrays(files: ModelFiles, options: Model, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, LazyArray]:
    if files.layout == "flax":
        stored = orbax_arrays(files.weights)
        return {name: _from_flax(stored, name, shape, options) for name, shape in shapes.items()}
    tensors: dict[str, LazyArray] = {}
    for path in sorted(files.weights.glob("*.safetensors")):
        found = safetensors_arrays(path)
        tensors.update({text_name(name): tensor for name, tensor in found.items()})
    return {name: _from_tensors(tensors, name, shape) for name, shape in shapes.items()}


def _from_flax(stored: Mapping[str, LazyArray], name: str, shape: tuple[int, ...], options: Model) -> LazyArray:
    place = place_of(name)
    array, part = stored[f"{place.key}.{place.leaf}"], place.part
    if part is None:
        return array
    # As in `stages.training.gemma`, which loads them.
    turned = options.kind.startswith("gemma3") or array.shape[1] != shape[0]

    def opened() -> Read:
        one: Array = array.read(part, part + 1)[0]
        whole = one.T if turned else one
        return lambda start, end: whole[start:end]

    return LazyArray(array.shape[:0:-1] if turned else array.shape[1:], array.dtype, opened)


def _from_tensors(tensors: Mapping[str, LazyArray], name: str, shape: tuple[int, ...]) -> LazyArray:
    first = tensors[matrices(name, shape)[0].name]
    if name == EMBEDDING:
        return first

    def opened() -> Read:
        whole = from_matrices(name, shape, lambda tensor: tensors[tensor].whole())
        return lambda start, end: whole[start:end]

    return LazyArray(shape, first.dtype, opened)
