"""Identifies the process that holds a lease, so that a reused process number is not mistaken for it."""

import os
import platform
import re
from pathlib import Path


def process_id() -> str:
    """Return the id of this process: its machine, its number, and when it began."""
    return f"{platform.node()}/{os.getpid()}/{_started(os.getpid())}"


def is_alive(other: str) -> bool | None:
    """Return True if a holder's process runs; None for a process of another machine, which cannot be checked here.

    An id without a start, as earlier versions wrote it outside Linux, is compared by its number alone.
    """
    import psutil  # on Windows, os.kill(pid, 0) would send Ctrl-C

    node, pid, started = split_holder(other)
    if node != platform.node() or pid is None:
        return None
    if not psutil.pid_exists(pid):
        return False
    return not started or started == _started(pid)


def split_holder(holder: str) -> tuple[str, int | None, str]:
    """Split a holder's id into machine, process number and start; any other name counts as a machine's."""
    found = re.fullmatch(r"(.*)/([0-9]+)/([^/]*)", holder)
    return (found[1], int(found[2]), found[3]) if found else (holder, None, "")


def _started(pid: int) -> str:
    """Return when a process began: on Linux in the kernel's ticks since boot, which no change of the clock moves, elsewhere
    in milliseconds since 1970; empty if the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    import psutil

    try:
        return str(round(1000 * psutil.Process(pid).create_time()))
    except psutil.Error:
        return ""
