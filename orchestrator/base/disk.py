"""Handles this machine's disk: free space, the meaning of OS errors, and files written completely or not at all."""

import errno
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.base.errors import DiskRefused, Permanent, RelayError

RESERVE_BYTES = 8 * 2**20
"""Bytes kept free for relay's own records, so that even a full disk can be recorded."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UNREAD = (errno.EIO, errno.EBADMSG, errno.ESTALE, getattr(errno, "EUCLEAN", errno.EIO))
"""Error numbers of a disk or network share that cannot return what it holds."""


def free_bytes(place: Path) -> int:
    """Return the bytes that this user can still write on the disk of `place`, which need not exist yet."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def shortage_message(place: Path, wanted_bytes: int = 0) -> str:
    """Return the message for a disk without room for `wanted_bytes` and relay's own records; empty if they fit."""
    missing_bytes = wanted_bytes + RESERVE_BYTES - free_bytes(place)
    return full_message(place, missing_bytes) if missing_bytes > 0 else ""


def full_message(place: Path, missing_bytes: int) -> str:
    """Return the message for a disk that lacks `missing_bytes`."""
    return f"the disk that holds {place} is full, {missing_bytes:,} bytes are missing: free some space, and relay continues by itself"


def is_unread(error: OSError) -> bool:
    """Return True if the disk could not return its content, which may be intact and readable again later."""
    return error.errno in UNREAD


def disk_error(error: OSError, path: Path, wanted_bytes: int = 0) -> RelayError:
    """Return the error to raise for a failed read or write of `path`, with `wanted_bytes` still to be written.

    Missing space or permission can come back, so those errors are retried; a missing file does not come back by itself.
    """
    if error.errno in FULL:
        # A quota of this user or process does not show in the free space: then only the remaining size is known.
        return DiskRefused(
            full_message(path.parent, max(wanted_bytes, wanted_bytes + RESERVE_BYTES - free_bytes(path), 1))
        )
    why = error.strerror or error
    if isinstance(error, FileNotFoundError):
        return Permanent(f"{path} cannot be read or written: {why}")
    return DiskRefused(f"{path} cannot be read or written ({why}): fix that, and relay continues by itself")


@contextmanager
def ignore_full_disk() -> Iterator[None]:
    """Ignore a full disk while writing a report, so that it does not end the work that it reports on."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise


@contextmanager
def disk_errors(path: Path, wanted_bytes: int = 0) -> Iterator[None]:
    """Convert an OSError into an error of relay's own, about the file that it names, else about `path`.

    Use only around calls that touch the disk: errors of requests are OSErrors too, and mean something else.
    """
    try:
        yield
    except OSError as error:
        named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else path
        raise disk_error(error, named, wanted_bytes) from error


# --- writing -----------------------------------------------------------------


def private_folder(path: Path) -> Path:
    """Create a folder that only its owner can enter, and return it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file that only its owner can read, completely or not at all, even if power fails."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    replace_file(part, path)
    sync_folder(path.parent)


REPLACE_TRIES = 40
REPLACE_WAIT_S = 0.05


def replace_file(source: Path, target: Path) -> None:
    """Rename a file over another one.

    Windows refuses this while any program has one of the two open, as an indexer or a virus scanner has for moments: there it
    is tried for two seconds. Raises OSError.
    """
    for _ in range(REPLACE_TRIES if sys.platform == "win32" else 0):
        try:
            source.replace(target)
        except PermissionError:
            threading.Event().wait(REPLACE_WAIT_S)
        else:
            return
    source.replace(target)


def modes_for_others(path: Path) -> int:
    """Return the permissions of a file that others than its owner have; 0 on Windows, whose modes say nothing of others."""
    return 0 if sys.platform == "win32" else path.stat().st_mode & 0o077


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable (fsync)."""
    if sys.platform == "win32":
        return  # Windows cannot open a folder; a rename is durable there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
