"""Packs a directory into one file and unpacks it: equal contents give equal bytes; unpacking
cannot write outside its directory.

The file is an uncompressed tar without machine-specific metadata (names sorted, no times, no owners, fixed modes),
under a name that Kaggle neither unpacks nor rewrites. It is not compressed because weights do not compress.
"""

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from stages.contract import BLOB_NAME, COMPILED_NAME, FileEntry, Manifest
from stages.file_names import stays_below

CHUNK_BYTES = 4 * 1024 * 1024
MEMBERS_MAX = 100_000
"""Largest number of files and folders in one archive: even empty ones use disk space and inodes."""
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
PLAIN_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
"""Allowed member types besides directories. Sparse files, which may unpack to more than their bytes, are excluded."""


class CorruptCheckpoint(Exception):
    """Raised for bytes that differ from their manifest, or an archive that relay's `pack` did not write."""


class CannotPack(Exception):
    """Raised if the directory contains something that is neither a file nor a directory."""


def pack(directory: Path, blob: Path) -> FileEntry:
    """Write everything below `directory` into the new file `blob`, synced to disk before this returns.

    The directory must not change meanwhile. Raises CannotPack for links and devices, FileExistsError if `blob` exists.
    """
    with blob.open("xb") as file:
        sink = _HashingSink(file)
        with tarfile.open(fileobj=cast(IO[bytes], sink), mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path in _contents(directory):
                _add(archive, path, path.relative_to(directory).as_posix())
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(path=blob.name, size_bytes=sink.size_bytes, sha256=sink.sha256())


def unpack(
    blob: Path,
    directory: Path,
    *,
    size_bytes_max: int,
    members_max: int = MEMBERS_MAX,
    wanted: Callable[[str], bool] = lambda _name: True,
) -> None:
    """Unpack a file written by `pack` into `directory`, which must not exist yet or be empty.

    Members whose names are not `wanted` are skipped.

    Raises CorruptCheckpoint at the first member that is absolute, leaves the directory, appears twice, is
    neither a file nor a directory, or exceeds `size_bytes_max` or `members_max`; the caller must then
    delete what was written so far.
    """
    directory.mkdir(parents=True, exist_ok=True)
    left_bytes = size_bytes_max
    try:
        with tarfile.open(blob, mode="r:", format=tarfile.GNU_FORMAT) as archive:
            for number, member in enumerate(archive):
                if number >= members_max:
                    raise CorruptCheckpoint(f"{blob.name} holds more than {members_max:,} files")
                left_bytes -= max(0, member.size)
                if left_bytes < 0:
                    raise CorruptCheckpoint(f"{blob.name} unpacks to more than the announced {size_bytes_max} bytes")
                if wanted(member.name):
                    _restore(archive, member, directory)
    except (tarfile.TarError, EOFError, ValueError, FileExistsError, NotADirectoryError) as error:
        raise CorruptCheckpoint(f"{blob.name} cannot be unpacked: {error}") from error


def texts_in(blob: Path, folder: str, *, size_bytes_max: int) -> dict[str, bytes]:
    """Read the plain files directly below `folder` in an archive that `pack` wrote, by name,
    up to `size_bytes_max` in total.

    Files with unsafe names, or beyond the size limit, are skipped. Raises CorruptCheckpoint
    if the archive cannot be read.
    """
    found: dict[str, bytes] = {}
    left_bytes = size_bytes_max
    try:
        with tarfile.open(blob, mode="r:", format=tarfile.GNU_FORMAT) as archive:
            for member in archive:
                below, _, name = member.name.partition("/")
                fits = stays_below(name) and "/" not in name and 0 <= member.size <= left_bytes
                if below != folder or member.type not in PLAIN_FILES or member.sparse is not None or not fits:
                    continue
                source = archive.extractfile(member)
                assert source is not None, "a plain file has contents"
                found[name] = source.read()
                left_bytes -= member.size
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise CorruptCheckpoint(f"{blob.name} cannot be read: {error}") from error
    return found


def verify(folder: Path, manifest: Manifest) -> None:
    """Check every file of the manifest in `folder`, sizes first; raises CorruptCheckpoint
    naming the file that differs."""
    verify_files(folder, manifest.files)


def verify_files(folder: Path, files: Sequence[FileEntry]) -> None:
    """Check these files of a manifest in `folder`, sizes first; raises CorruptCheckpoint
    naming the file that differs."""
    for entry in files:
        path = folder / entry.path
        if not path.is_file():
            raise CorruptCheckpoint(f"{entry.path} is missing")
        if (found := path.stat().st_size) != entry.size_bytes:
            raise CorruptCheckpoint(f"{entry.path} has {found} bytes instead of {entry.size_bytes}")
    for entry in files:
        if sha256_of(folder / entry.path) != entry.sha256:
            raise CorruptCheckpoint(f"{entry.path} has another SHA-256 than its manifest says")


def open_checkpoint(folder: Path, manifest: Manifest, directory: Path) -> None:
    """Verify the checkpoint in `folder`, then unpack its state into `directory`; raises CorruptCheckpoint.

    Compiled programs beside the state are not verified here: without them the session is only slower.
    """
    entry = next((entry for entry in manifest.files if entry.path == BLOB_NAME), None)
    if entry is None:
        raise CorruptCheckpoint(f"the manifest names no {BLOB_NAME}")
    verify_files(folder, [entry for entry in manifest.files if entry.path != COMPILED_NAME])
    unpack(folder / BLOB_NAME, directory, size_bytes_max=entry.size_bytes)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_new(path: Path, content: bytes) -> None:
    """Write a file that must not exist yet, synced to disk before this returns."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Sync a directory's entries to disk: otherwise a rename may be lost in a crash."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class _HashingSink:
    """File-like object for tarfile that counts and hashes the bytes written through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.size_bytes

    def sha256(self) -> str:
        return self._hash.hexdigest()


def _contents(directory: Path) -> Iterator[Path]:
    """Yield everything below a directory, parents before children, sorted by the bytes of the names."""
    yield from sorted(directory.rglob("*"), key=lambda path: os.fsencode(path.relative_to(directory)))


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        raise CannotPack(f"{name} is neither a file nor a directory")
    if path.is_dir():
        member.type, member.mode = tarfile.DIRTYPE, DIRECTORY_MODE
        archive.addfile(member)
        return
    member.mode = FILE_MODE
    with path.open("rb") as file:
        member.size = os.fstat(file.fileno()).st_size
        archive.addfile(member, file)


def _restore(archive: tarfile.TarFile, member: tarfile.TarInfo, directory: Path) -> None:
    parts = member.name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in member.name:
        raise CorruptCheckpoint(f"a member is called {member.name!r}")
    target = directory.joinpath(*parts)
    if member.type == tarfile.DIRTYPE:
        target.mkdir(mode=DIRECTORY_MODE)
        return
    if member.type not in PLAIN_FILES or member.sparse is not None:
        raise CorruptCheckpoint(f"{member.name!r} is neither a file nor a directory")
    source = archive.extractfile(member)
    assert source is not None, "a plain file has contents"
    with source, target.open("xb") as file:
        _copy(source, file, member)


def _copy(source: IO[bytes], target: IO[bytes], member: tarfile.TarInfo) -> None:
    left_bytes = member.size
    while left_bytes > 0:
        chunk = source.read(min(CHUNK_BYTES, left_bytes))
        if not chunk:
            raise CorruptCheckpoint(f"{member.name!r} ends {left_bytes} bytes early")
        target.write(chunk)
        left_bytes -= len(chunk)
