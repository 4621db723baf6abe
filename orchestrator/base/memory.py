"""Free memory of this machine."""

import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def free_memory_bytes(meminfo: Path = MEMINFO, group_limit: Path = GROUP_LIMIT) -> int:
    """Return the memory that programs can still get, in bytes; 0 if the system does not tell.

    Linux tells what is available; a control group may limit it. Elsewhere it is the memory that is built in.
    """
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        available = 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        return _built_in_bytes()
    try:
        return min(available, int(group_limit.read_text(encoding="ascii")))
    except (OSError, ValueError):  # there is no such file, or `max` in it
        return available


def _built_in_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0
