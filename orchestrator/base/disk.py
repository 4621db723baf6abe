"""This machine's disk: whether it has room, what its refusals mean, and how it is written: whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.base.errors import DiskRefused, Permanent, RelayError

RESERVE_BYTES = 8 * 2**20
"""Left free for relay's own records whatever is fetched, so that a full disk can still be written down."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UNREAD = (errno.EIO, errno.EBADMSG, errno.ESTALE, getattr(errno, "EUCLEAN", errno.EIO))
"""What a disk, or a share on the network, says that does not give back what it holds."""


def free_bytes(place: Path) -> int:
    """Bytes that this user may still write where `place` is, or is going to be."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def shortage(place: Path, wanted_bytes: int = 0) -> str:
    """What to do before `wanted_bytes` and relay's own records fit where `place` is; empty where they do."""
    missing_bytes = wanted_bytes + RESERVE_BYTES - free_bytes(place)
    return full(place, missing_bytes) if missing_bytes > 0 else ""


def require_room(place: Path, wanted_bytes: int) -> None:
    """Raise DiskRefused unless so many bytes fit where `place` is."""
    if problem := shortage(place, wanted_bytes):
        raise DiskRefused(problem)


def full(place: Path, missing_bytes: int) -> str:
    """The sentence for a disk that has too little room."""
    return (
        f"the disk that holds {place} is full, {missing_bytes:,} bytes are missing: make room, and it goes on by itself"
    )


def is_unread(error: OSError) -> bool:
    """Whether what is on the disk is not known, since it does not come back: it may be whole, and come back later."""
    return error.errno in UNREAD


def refusal(error: OSError, path: Path, wanted_bytes: int = 0) -> RelayError:
    """What to raise where this machine would not read or write `path`; so many bytes were still to be written.

    Room and rights come back, so that is tried again; what is not there does not come back by itself.
    """
    if error.errno in FULL:
        # A limit on this user or process is not seen in what is free: then only what is still to come is known.
        return DiskRefused(full(path.parent, max(wanted_bytes, wanted_bytes + RESERVE_BYTES - free_bytes(path), 1)))
    why = error.strerror or error
    if isinstance(error, FileNotFoundError):
        return Permanent(f"{path} cannot be read or written: {why}")
    return DiskRefused(f"{path} cannot be read or written ({why}): put that right, and it goes on by itself")


@contextmanager
def unless_full() -> Iterator[None]:
    """For a report that cannot be written where its own disk is full: that must not end what it reports of."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise


@contextmanager
def on_disk(path: Path, wanted_bytes: int = 0) -> Iterator[None]:
    """An OSError inside comes out as one of relay's own, about the file that it names, else about `path`.

    Only around calls that touch the disk: requests' errors are OSErrors too, and mean something else.
    """
    try:
        yield
    except OSError as error:
        named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else path
        raise refusal(error, named, wanted_bytes) from error


# --- writing -------------------------------------------------------------------


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can enter."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file that only its owner can read, so that it is there whole or not at all, even through a power cut."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":
        return  # Windows cannot open a folder; a rename is durable there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
