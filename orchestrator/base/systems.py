"""Differences between Linux, macOS and Windows: words of a shell, names that are devices, and what only POSIX has."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from orchestrator.base.errors import BadInput

DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows treats as devices, in any folder and with any suffix."""


def shell_word(word: str) -> str:
    """Quote a word for this system's shell, if it needs quotes."""
    return subprocess.list2cmdline([word]) if sys.platform == "win32" else shlex.quote(word)


def shell_line(words: list[str]) -> str:
    """Return a command as this system's shell reads it."""
    return " ".join(map(shell_word, words))


def require_posix(what: str, instead: str) -> None:
    """Raise BadInput on Windows; `what` needs processes as only POSIX systems have them, and `instead` is the remedy."""
    if sys.platform == "win32":
        raise BadInput(f"{what} needs Linux or macOS (on Windows: WSL): {instead}")


def name_problem(path: Path) -> str:
    """Return why a file or folder cannot have this name on Windows, or an empty string; other systems take any name."""
    if sys.platform != "win32":
        return ""
    name = path.name
    if DEVICE.fullmatch(name):
        return f"{name} is the name of a device on Windows: choose another name"
    if name != name.rstrip(". ") or re.search(r'[<>:"|?*]', name):
        return f'{name!r} is not a name that Windows keeps: leave out < > : " | ? * and dots and spaces at its end'
    return ""
