"""Identifies the process that holds a lease, so that a reused process number is not mistaken for it."""

import os
import platform
import re
from pathlib import Path


def process_id() -> str:
    """Return the id of this process: its machine, its number, and when it began."""
    return f"{platform.node()}/{os.getpid()}/{_started(os.getpid())}"


def is_alive(other: str) -> bool | None:
    """Return True if a holder's process runs; None for a process of another machine, which cannot be checked here."""
    node, pid, started = split_holder(other)
    if node != platform.node() or pid is None:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return started == _started(pid)


def split_holder(holder: str) -> tuple[str, int | None, str]:
    """Split a holder's id into machine, process number and start; any other name counts as a machine's."""
    found = re.fullmatch(r"(.*)/([0-9]+)/([^/]*)", holder)
    return (found[1], int(found[2]), found[3]) if found else (holder, None, "")


def _started(pid: int) -> str:
    """Return when a process began, in the kernel's ticks since boot; empty if the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
