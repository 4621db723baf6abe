"""Peaks of the memory that a stage uses: on the devices, and on the host by this process and the judges' processes.

For display and for `relay plan --memory` only: they differ between identical runs, so no result depends on them.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.session.freed_memory import give_back

DEVICE, DEVICE_LIMIT, HOST, HOST_LIMIT = "device_bytes", "device_limit_bytes", "host_bytes", "host_limit_bytes"
"""Names of the values of `peaks`."""
PROC = Path("/proc")
GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
RESET_PEAK = "5"
"""Value for Linux's `/proc/self/clear_refs` that sets a process's peak to what it uses now (man 5 proc)."""


LOOK_EVERY_S = 10.0
"""Shortest interval between two looks at the processes, in seconds: a look takes some milliseconds."""


class PeakMemory:
    """Peaks of one session, stage by stage."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, int] = {}
        self._device_before = 0
        self._looked_s = -LOOK_EVERY_S

    def begin_stage(self) -> None:
        """Forget the peaks of the stage before; what its devices reached stays as the mark that this stage has to pass."""
        begin_stage()
        self._device_before = _device_peaks().get(DEVICE, 0)
        self._seen, self._looked_s = {}, -LOOK_EVERY_S

    def now(self) -> dict[str, int]:
        """Return the stage's peaks so far, as `peaks` does, and what was seen earlier if a device no longer answers.

        `device_bytes` is left out as long as the stage has not passed the peak of an earlier stage of the session,
        because its own peak is then unknown.
        """
        self._looked_s, now = self._clock(), peaks()
        if now.get(DEVICE, 0) <= self._device_before:
            now.pop(DEVICE, None)
        highest = {name: max(now[name], self._seen.get(name, 0)) for name in (DEVICE, HOST) if name in now}
        self._seen = {**self._seen, **now, **highest}
        return self._seen

    def recent(self) -> dict[str, int]:
        """Return the stage's peaks as of at most `LOOK_EVERY_S` ago."""
        return self.now() if self._clock() - self._looked_s >= LOOK_EVERY_S else self._seen


def begin_stage(proc: Path = PROC) -> None:
    """Let the host's peak begin anew, so that a stage's peak is not that of a larger stage before it.

    Without effect where the system does not allow it. What the stage before has freed is given back first. The devices'
    peaks cannot be reset: see `PeakMemory.now`.
    """
    give_back()
    try:
        (proc / "self" / "clear_refs").write_text(RESET_PEAK, encoding="ascii")
    except OSError:
        return


def peaks() -> dict[str, int]:
    """Return peaks and limits in bytes, by the names above; what the system does not tell is left out.

    `device_bytes` and `device_limit_bytes` are those of the device that used most (JAX's `memory_stats`), which a CPU
    does not report: its arrays are in the host's memory. They are left out too if the devices do not answer, so that a
    report of their failure can be written.
    """
    found = {**_device_peaks(), HOST: host_bytes(), HOST_LIMIT: host_limit_bytes()}
    return {name: value for name, value in found.items() if value}


def _device_peaks() -> dict[str, int]:
    jax: Any = sys.modules.get("jax")  # without an imported JAX nothing is on a device
    if jax is None:
        return {}
    try:
        stats = [device.memory_stats() or {} for device in jax.local_devices()]
    except (RuntimeError, AttributeError):  # JAX's own errors are RuntimeErrors; a JAX half imported lacks attributes
        return {}
    most = max(stats, key=lambda each: int(each.get("peak_bytes_in_use", 0)), default={})
    return {DEVICE: int(most.get("peak_bytes_in_use", 0)), DEVICE_LIMIT: int(most.get("bytes_limit", 0))}


def host_bytes(proc: Path = PROC, own: int | None = None) -> int:
    """Return the sum of the peaks, in bytes, of this process and of all that it started and that still run.

    Resident memory (`VmHWM`). The judges of answers are such processes; they live as long as the stage.
    """
    own = os.getpid() if own is None else own
    if not (proc / str(own) / "status").exists():
        return _largest_of_system()
    return sum(_peak(proc / str(process)) for process in (own, *_descendants(own, proc)))


def host_limit_bytes(proc: Path = PROC, group_limit: Path = GROUP_LIMIT) -> int:
    """Return the memory of this machine in bytes, or less if a control group grants less; 0 if unknown."""
    try:
        lines = dict(line.split(":", 1) for line in (proc / "meminfo").read_text(encoding="ascii").splitlines())
        whole = 1024 * int(lines["MemTotal"].split()[0])
    except (OSError, ValueError, KeyError):
        return 0
    try:
        return min(whole, int(group_limit.read_text(encoding="ascii")))
    except (OSError, ValueError):  # there is no such file, or `max` in it
        return whole


def _peak(process: Path) -> int:
    """Return a process's peak of resident memory in bytes; 0 if it has ended."""
    try:
        lines = (process / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _descendants(process: int, proc: Path) -> list[int]:
    """Return the processes that this one started, and those that they started."""
    children: dict[int, list[int]] = {}
    for place in proc.glob("[0-9]*"):
        try:
            stat = (place / "stat").read_text(encoding="utf-8", errors="replace")
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(place.name))
        except (OSError, ValueError, IndexError):  # it has ended meanwhile
            continue
    found: list[int] = []
    waiting = [process]
    while waiting:
        found += (begun := children.get(waiting.pop(), []))
        waiting += begun
    return found


def _largest_of_system() -> int:
    """Return this process's peak in bytes as the system counts it, since it began; 0 if it does not tell."""
    try:
        import resource  # missing on Windows, where relay reads this module's names
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
