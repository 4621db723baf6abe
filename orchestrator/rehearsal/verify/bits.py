"""Count the bits that differ between two checkpoints: in parameters, optimizer state, and everything else they hold."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.session import packing
from stages.session.parent_checkpoint import MountedCheckpoint

CHUNK_BYTES = 1 << 20

Contents = dict[str, dict[str, bytes]]
"""Checkpoint contents: part (`parameters`, `optimizer`, `other`) → name → bytes of an array, a text or a file."""

PARTS = ("parameters", "optimizer", "other")


@dataclass(frozen=True)
class Bits:
    """Number of bits compared, and number of bits that differ in each part of a checkpoint."""

    compared: int = 0
    parameters: int = 0
    optimizer: int = 0
    other: int = 0

    @property
    def differing(self) -> int:
        """Number of differing bits in all parts."""
        return self.parameters + self.optimizer + self.other

    def __add__(self, more: "Bits") -> "Bits":
        return Bits(
            self.compared + more.compared,
            self.parameters + more.parameters,
            self.optimizer + more.optimizer,
            self.other + more.other,
        )


def between(one: MountedCheckpoint, two: MountedCheckpoint) -> Bits:
    """Count the bits that differ.

    If both checkpoints list the same digests they are equal, so only their size is read.
    """
    first = contents(one)
    if one.manifest.digests and one.manifest.digests == two.manifest.digests:
        return Bits(compared=sum(_size_bits(part) for part in first.values()))
    second = contents(two)
    counts = {part: _differing_bits(first[part], second[part]) for part in PARTS}
    return Bits(compared=sum(max(_size_bits(first[part]), _size_bits(second[part])) for part in PARTS), **counts)


def contents(found: MountedCheckpoint) -> Contents:
    """Return everything that a checkpoint holds, arrays as their raw bytes."""
    with tempfile.TemporaryDirectory(prefix="relay-verify-") as name:
        directory = Path(name) / "state"
        packing.open_checkpoint(found.folder, found.manifest, directory)
        if _is_training_state(directory / "state.json"):
            return _training_contents(directory)
        files = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
        return {"parameters": {}, "optimizer": {}, "other": {name: path.read_bytes() for name, path in files.items()}}


def _is_training_state(about: Path) -> bool:
    """Return True if `stages.training.checkpoints` wrote this state. Custom stages may use their own layout."""
    try:
        said = json.loads(about.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and {"format", "items", "made"} <= said.keys()


def _training_contents(directory: Path) -> Contents:
    # Reading imports JAX, which must not claim the accelerator that the sessions need.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from stages.training import checkpoints

    state = checkpoints.read(directory)
    other = {f"artifact {name}": text.encode() for name, text in state.artifacts.items()}
    other |= {f"counter {name}": repr(value).encode() for name, value in state.counters.items()}
    other["made"] = state.made.encode()
    if state.origin is not None:
        other |= _weights(state.origin)
    return {"parameters": _weights(state.weights), "optimizer": _array_bytes("", state.optimizer or {}), "other": other}


def _weights(weights: Any) -> dict[str, bytes]:
    found = _array_bytes("base", weights.base or {})
    for number, adapter in enumerate(weights.adapters):
        found |= _array_bytes(f"adapter {number} {adapter.rank} {adapter.alpha!r}", adapter.arrays)
    return found


def _array_bytes(prefix: str, arrays: Mapping[str, Any]) -> dict[str, bytes]:
    return {f"{prefix} {name} {array.dtype} {array.shape}": array.tobytes() for name, array in arrays.items()}


def _differing_bits(first: Mapping[str, bytes], second: Mapping[str, bytes]) -> int:
    return sum(count(first.get(name, b""), second.get(name, b"")) for name in first.keys() | second.keys())


def count(first: bytes, second: bytes) -> int:
    """Count the bits in which two byte strings differ. Bits beyond the end of the shorter one all count."""
    shared = min(len(first), len(second))
    differing = 8 * (max(len(first), len(second)) - shared)
    for start in range(0, shared, CHUNK_BYTES):
        end = min(start + CHUNK_BYTES, shared)
        ones = int.from_bytes(first[start:end], "big") ^ int.from_bytes(second[start:end], "big")
        differing += ones.bit_count()
    return differing


def _size_bits(part: Mapping[str, bytes]) -> int:
    return 8 * sum(map(len, part.values()))
