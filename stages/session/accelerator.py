"""Is the accelerator that the session was promised really there? Asked first: quota is lost by the minute."""

import os

from stages.contract import Accelerator
from stages.stage import StageFailed

STAND_IN = "RELAY_STAND_IN"
"""Only a rehearsal on the user's machine sets this to 1: whatever is here stands in for the accelerator."""


def check(promised: Accelerator) -> str:
    """A line for people about what was found.

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
    except RuntimeError as error:  # what JAX raises where a backend does not initialise
        raise StageFailed("accelerator-missing", f"{wanted} promised, and JAX says: {error}", transient=True) from error
    found = f"{len(platforms)} {'/'.join(sorted(set(platforms)))}"
    if set(platforms) != {promised.platform} or promised.devices not in (0, len(platforms)):
        raise StageFailed("accelerator-missing", f"{wanted} promised and {found} found", transient=True)
    return f"accelerator: {found}"
