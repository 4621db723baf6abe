"""Who holds the lease on a database: a process, named so that it is told from any other that ever had its number."""

import os
import platform
import re
from pathlib import Path


def process_id() -> str:
    """This process: its machine, its number, and when it began."""
    return f"{platform.node()}/{os.getpid()}/{_started(os.getpid())}"


def is_alive(other: str) -> bool | None:
    """Whether a holder's process runs; None for another machine's, of which nobody here knows."""
    node, pid, started = parts(other)
    if node != platform.node() or pid is None:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return started == _started(pid)


def parts(holder: str) -> tuple[str, int | None, str]:
    """Machine, process number, and when the process began; a name of any other shape counts as a machine's."""
    found = re.fullmatch(r"(.*)/([0-9]+)/([^/]*)", holder)
    return (found[1], int(found[2]), found[3]) if found else (holder, None, "")


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks since boot; empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
