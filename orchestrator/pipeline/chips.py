"""Memory of the accelerators' chips and of their hosts, and the size of a session's output disk."""

from dataclasses import dataclass

from stages.session.accelerator import GPU_MEMORY_SHARE

GIB = 2**30
GB = 10**9


@dataclass(frozen=True)
class Chip:
    """Device, in JAX's sense."""

    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Host:
    """Machine that a session runs on."""

    memory_bytes: int
    source: str


CHIPS = {
    "TpuV5E8": Chip("TPU v5e", 16 * GIB),
    "TpuV6E8": Chip("TPU v6e", 32 * GIB),
    "NvidiaTeslaT4": Chip("Tesla T4", int(14.74 * GIB * GPU_MEMORY_SHARE)),
}
"""Chips by `accelerator`. TPUs: Google Cloud's TPU documentation, "System architecture" ("HBM capacity per chip"). T4: of
its 15 GiB (`nvidia-smi`) a program sees 14.74 (PyTorch's messages on a T4), and JAX takes a share of these for arrays
(`GPU_MEMORY_SHARE`): 13.56 GiB. A CPU session has no chip: its arrays are in the host's memory."""

_DOCUMENTED = "Kaggle's notebook documentation, technical specifications"
HOSTS = {
    "TpuV5E8": Host(330 * GB, f"{_DOCUMENTED}; users report 406 GB"),
    "TpuV6E8": Host(330 * GB, "assumed to be at least that of a TPU v5e-8"),
    "NvidiaTeslaT4": Host(29 * GB, f"{_DOCUMENTED}; about 30 GB"),
    "cpu": Host(30 * GB, _DOCUMENTED),
}
"""Machines by `accelerator`. A session says what its machine really has (`host_limit_bytes`), and from the first one on
that counts (`orchestrator.preflight.memory.machine`)."""

OUTPUT_BYTES_MAX = 20 * 10**9
"""Size limit of `/kaggle/working`, from which checkpoints are handed over, in bytes (Kaggle's notebook documentation).
"""
