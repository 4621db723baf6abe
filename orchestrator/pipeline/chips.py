"""Memory of the accelerators' chips, and the size of a session's output disk."""

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """Device, in JAX's sense."""

    name: str
    memory_bytes: int


CHIPS = {
    "TpuV5E8": Chip("TPU v5e", 16 * GIB),
    "TpuV6E8": Chip("TPU v6e", 32 * GIB),
    "NvidiaTeslaT4": Chip("Tesla T4", 15 * GIB),
}
"""Chips by `accelerator`. TPUs: Google Cloud's TPU documentation, "System architecture" ("HBM capacity per chip"); T4:
its 16 GB minus the driver's share."""

OUTPUT_BYTES_MAX = 20 * 10**9
"""Size limit of `/kaggle/working`, from which checkpoints are handed over, in bytes (Kaggle's notebook documentation).
"""
