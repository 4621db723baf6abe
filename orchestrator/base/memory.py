"""Free memory of this machine."""

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def free_memory_bytes(meminfo: Path = MEMINFO, group_limit: Path = GROUP_LIMIT) -> int:
    """Return the memory that programs can still get, in bytes; 0 if the system does not tell.

    Linux tells what is available; a control group may limit it.
    """
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        available = 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        return _available_bytes()
    try:
        return min(available, int(group_limit.read_text(encoding="ascii")))
    except (OSError, ValueError):  # there is no such file, or `max` in it
        return available


def _available_bytes() -> int:
    import psutil

    try:
        return int(psutil.virtual_memory().available)
    except (OSError, RuntimeError, psutil.Error):
        return 0
