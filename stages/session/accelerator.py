"""Prepares JAX for the promised accelerator, and checks that it is present, before anything else, because each
minute of a session costs quota."""

import os
from collections.abc import MutableMapping

from stages.contract import Accelerator
from stages.stage import StageFailed

STAND_IN = "RELAY_STAND_IN"
"""Environment variable that only a rehearsal on the user's machine sets to 1: the machine then
stands in for the accelerator."""

GPU_MEMORY_SHARE = 0.92
"""Share of a GPU's memory that JAX takes for arrays. Its default is 0.75 (JAX's documentation, "GPU memory allocation"),
which leaves a quarter of a T4 unused; the rest is for CUDA's context and its libraries."""
SHARE_VARIABLE = "XLA_PYTHON_CLIENT_MEM_FRACTION"
DETERMINISTIC = "--xla_gpu_deterministic_ops"
"""Compiler flag with which equal programs compute equal bits on a GPU: without it XLA chooses the algorithm of a matrix
product by timing several, and adds up scattered values in the order in which threads arrive (XLA's documentation,
"Determinism")."""


def prepare(platform: str, environ: MutableMapping[str, str]) -> None:
    """Set what JAX reads when it is imported: for `gpu`, equal bits and the share of memory. A value that is set stays."""
    if platform != "gpu":
        return
    environ.setdefault(SHARE_VARIABLE, str(GPU_MEMORY_SHARE))
    flags = environ.get("XLA_FLAGS", "").split()
    if not any(flag.partition("=")[0] == DETERMINISTIC for flag in flags):
        environ["XLA_FLAGS"] = " ".join([*flags, f"{DETERMINISTIC}=true"])


def check(promised: Accelerator) -> str:
    """Check the devices that JAX finds and describe them in one line.

    Raises StageFailed `accelerator-missing` (transient: another session may get it) or `environment-incomplete`.
    """
    wanted = f"{promised.devices or 'any number of'} {promised.platform}"
    if os.environ.get(STAND_IN) == "1":
        return f"this machine stands in for {promised.machine_shape or 'a plain machine'} with {wanted}"
    try:
        import jax
    except ImportError as error:
        raise StageFailed("environment-incomplete", f"a stage needs JAX and it does not import: {error}") from error
    try:
        platforms = [str(device.platform) for device in jax.devices()]
    except RuntimeError as error:  # raised by JAX if a backend does not initialise
        raise StageFailed("accelerator-missing", f"{wanted} promised, and JAX says: {error}", transient=True) from error
    found = f"{len(platforms)} {'/'.join(sorted(set(platforms)))}"
    if set(platforms) != {promised.platform} or promised.devices not in (0, len(platforms)):
        raise StageFailed("accelerator-missing", f"{wanted} promised and {found} found", transient=True)
    return f"accelerator: {found}"
