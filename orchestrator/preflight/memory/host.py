"""Memory that a session takes on its host: libraries, files, copies, the compiler, judges. Pure.

Each piece was found by measurement, with Gemma 3 270M (18 layers) on a CPU: docs/memory.md has the table. In a session
on a CPU, host and device are one memory, and every phase holds these pieces beside the arrays. Beside an accelerator
they are a budget of their own.
"""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.preflight.memory.programs import StageNeeds

MIB = 2**20
LIBRARIES_BYTES = 390 * MIB
"""Python with JAX, Flax, Orbax and Tunix, and the tokenizer's pieces, before the weights are read."""
ALLOCATOR_BYTES = 150 * MIB
"""Memory that stays with the process after the weights are read: pages that malloc keeps, and the reader's remains."""
COMPILED_STEP_BYTES = 36 * MIB
"""Memory that the compiler keeps, per layer, for a training step and what is compiled around it."""
COMPILED_SAMPLER_BYTES = 11 * MIB
"""The same for the sampler's two functions and small programs."""
JUDGES_BYTES = 90 * MIB
"""The judges' processes of mathematics and Python, between answers."""
JUDGED_KINDS = ("grpo", "continued", "evaluate", "curate")
NARROW_BYTES = 2
"""Bytes of a number in published weights, which are in bfloat16."""


@dataclass(frozen=True)
class Loaded:
    """Sizes of a model on the way from its files to the devices, in bytes."""

    weights: int
    """All weights in the model's type, in total."""
    largest: int
    """The largest array in the model's type."""
    itemsize: int
    layers: int
    files: int
    """The weights' files."""

    @property
    def numbers(self) -> int:
        """Number of weights."""
        return self.weights // self.itemsize

    @property
    def largest_in_file(self) -> int:
        """The largest array in the files' type."""
        return self.largest * self.files // max(1, self.weights)


@dataclass(frozen=True)
class HostMoment:
    """Memory at one moment of a stage, in bytes by piece."""

    name: str
    pieces: dict[str, int]

    @property
    def peak(self) -> int:
        """Sum of the pieces, in bytes."""
        return sum(self.pieces.values())


def files_bytes(source: str, numbers: int) -> int:
    """Return the size of the weights' files: as they are in a folder of this machine, else as published."""
    folder = Path(source)
    if source.startswith(("/", ".")) and folder.is_dir():
        found = sum(path.stat().st_size for path in [*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors")])
        if found:
            return found
    return numbers * NARROW_BYTES


def starting_moments(loaded: Loaded) -> list[HostMoment]:
    """Return the moments before a stage's first step in which host and devices hold more than the model, on a CPU.

    Reading: the file is mapped, and of the array that is being converted there are two copies in the file's type beside
    the model's. Checking: the sums of the weights' bits are computed from a copy of all weights as 32-bit integers.
    """
    start = {"libraries": LIBRARIES_BYTES}
    read = {"weights": loaded.weights, "files": loaded.files, "conversion": 2 * loaded.largest_in_file}
    check = {"allocator": ALLOCATOR_BYTES, "weights": loaded.weights, "check": 4 * loaded.numbers}
    return [HostMoment("reading the weights", start | read), HostMoment("checking the weights", start | check)]


def working_pieces(needs: StageNeeds, layers: int, snapshot: int, restored: int) -> dict[str, int]:
    """Return the pieces that a stage holds on its host while it works, in bytes.

    `snapshot`: trained weights in float32 and moments, which the saver copies while training goes on; `restored`: the
    checkpoint that the stage began from, whose arrays it keeps.
    """
    samples = any(phase.program.kind == "answers" for phase in needs.phases)
    compiled = (COMPILED_STEP_BYTES if needs.mode else 0) + (COMPILED_SAMPLER_BYTES if samples else 0)
    return {
        "libraries": LIBRARIES_BYTES,
        "allocator": ALLOCATOR_BYTES,
        "compiler": compiled * layers,
        "snapshot": snapshot,
        "restored": restored,
        "judges": JUDGES_BYTES if needs.kind in JUDGED_KINDS else 0,
    }


def host_moments(needs: StageNeeds, loaded: Loaded, snapshot: int, restored: int) -> list[HostMoment]:
    """Return the moments of a stage on the host of an accelerator, whose arrays are on its chips.

    Reading: the arrays pass through the host's memory, in the model's type. While it works: JAX keeps the host's copies
    of the weights that their digest was computed from.
    """
    read, _ = starting_moments(loaded)
    work = working_pieces(needs, loaded.layers, snapshot, restored) | {"weights": loaded.weights}
    return [read, HostMoment("working", work)]
