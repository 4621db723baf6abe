"""Checks of file names that another machine chose. Standard library only."""

import unicodedata
from collections.abc import Iterable


def clashing(paths: Iterable[str]) -> str:
    """Return the first path that would collide with another on some file system, or "": the two differ only in case, or
    one is a folder in the other's path."""
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        parts = unicodedata.normalize("NFC", path).casefold().split("/")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        whole = "/".join(parts)
        if whole in files or whole in folders or above & files:
            return path
        files.add(whole)
        folders |= above
    return ""


def stays_below(path: str) -> bool:
    """Return whether a relative path names something below the folder that it is joined to, on any operating system."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") for part in parts) and not any(mark in path for mark in "\\\0:")
