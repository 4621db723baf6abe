"""What an accelerator's chips and a session's disk hold."""

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One device as JAX counts them."""

    name: str
    memory_bytes: int


CHIPS = {
    "TpuV5E8": Chip("TPU v5e", 16 * GIB),
    "TpuV6E8": Chip("TPU v6e", 32 * GIB),
    "NvidiaTeslaT4": Chip("Tesla T4", 15 * GIB),
}
"""By `accelerator`. TPUs: Google Cloud's TPU documentation, "System architecture" ("HBM capacity per chip"); T4: what is left
of its 16 GB beside the driver."""

OUTPUT_BYTES_MAX = 20 * 10**9
"""What Kaggle keeps of `/kaggle/working`, from which checkpoints are handed over (Kaggle's notebook documentation)."""
