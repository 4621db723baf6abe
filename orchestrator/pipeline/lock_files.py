"""Reads lock files, and compares a lock with the pins that it was made from."""

import re
import stat
from pathlib import Path

from orchestrator.pipeline.pins import PIN
from stages.session.package_lock import BadLock, PackageLock, normalised

ANEW = "write the list of pins in environment and type relay environment lock"

SIZE_BYTES_MAX = 1_000_000
"""Size limit of a lock file. Those of about 110 packages have 14 kB."""


def read_lock(path: Path) -> PackageLock:
    """Read a lock file. Raises BadLock for a text that is no lock, FileNotFoundError, OSError or UnicodeDecodeError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a read of a pipe would wait for somebody to write
        raise BadLock("it is not a regular file: name the file that relay environment lock wrote")
    if found.st_size > SIZE_BYTES_MAX:
        raise BadLock(
            f"it has {found.st_size:,} bytes, and a lock has at most {SIZE_BYTES_MAX:,}: name the file that relay environment lock wrote"
        )
    return PackageLock.parse(path.read_text(encoding="utf-8"))


def require_pins(lock: PackageLock) -> None:
    """Raise BadLock unless the lock has a package for each of its pins, at that version."""
    versions = {package.name: package.version for package in lock.packages}
    for pin in lock.pins:
        match = PIN.fullmatch(pin)
        if match is None:
            raise BadLock(f"its head names {pin!r}, which is no pin: {ANEW}")
        version = versions.get(normalised(match[1]))
        if version is None:
            raise BadLock(f"its head names {pin}, and its packages do not include {match[1]}: {ANEW}")
        if match[3] and not _equal(match[3], version):
            raise BadLock(f"its head names {pin}, and its packages have {match[1]} at {version}: {ANEW}")


def _equal(pinned: str, locked: str) -> bool:
    """Return True if the pin `==pinned` accepts this version (PEP 440): zeros at the end count for nothing, and neither
    does a local part that the pin does not name."""
    return _plain(pinned) == _plain(locked if "+" in pinned else locked.partition("+")[0])


def _plain(version: str) -> str:
    """Return the version in a form in which its spellings are equal: 1.0-RC.1 is 1.0rc1, and 1.0.0 is 1."""
    parts = re.findall(r"[a-z]+|[0-9]+", version.lower().removeprefix("v").partition("+")[0])
    words = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc", "rev": "post", "r": "post"}
    plain = ".".join(words.get(part, part) if part.isalpha() else str(int(part)) for part in parts)
    epoch = version.partition("!")[0] if "!" in version else "0"
    local = re.sub("[-_]", ".", version.partition("+")[2].lower())
    return re.sub(r"(\.0)+(?=$|\.[a-z])", "", plain) + f"!{epoch}+{local}"
