"""Memory of the machine that a plan is for: as documented, or as sessions of this home found it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.pipeline.chips import CHIPS, HOSTS, Host
from orchestrator.preflight.memory.measured import MeasuredPeaks
from stages.session.peak_memory import DEVICE_LIMIT, HOST_LIMIT

FOUND_BY_SESSION = "found by a session of this home"


@dataclass(frozen=True)
class Machine:
    """Memory that a session has: of each chip, and of the host; on a CPU both are the same."""

    chip: str
    memory_bytes: int
    host: Host

    @property
    def one_memory(self) -> bool:
        """True if there are no chips with a memory of their own."""
        return self.chip == ""


def machine_of(accelerator: str, measured: Iterable[MeasuredPeaks] = ()) -> Machine:
    """Return the memory of an accelerator's machine, whose name must be in `HOSTS`.

    A limit that sessions with this accelerator reported replaces the documented one; of several runs, the smallest counts.
    """
    found: dict[str, int] = {}
    for each in measured:
        for name in (DEVICE_LIMIT, HOST_LIMIT):
            if limit := each.peaks.get(name):
                found[name] = min(limit, found.get(name, limit))
    host, chip = HOSTS[accelerator], CHIPS.get(accelerator)
    if HOST_LIMIT in found:
        host = Host(found[HOST_LIMIT], FOUND_BY_SESSION)
    if chip is None:
        return Machine("", host.memory_bytes, host)
    return Machine(chip.name, found.get(DEVICE_LIMIT, chip.memory_bytes), host)
