"""Checks that the promised accelerator is present, before anything else, because each
minute of a session costs quota."""

import os

from stages.contract import Accelerator
from stages.stage import StageFailed

STAND_IN = "RELAY_STAND_IN"
"""Environment variable that only a rehearsal on the user's machine sets to 1: the machine then
stands in for the accelerator."""


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
