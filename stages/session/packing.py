"""A directory as one file and back: equal contents give equal bytes, and nothing is unpacked outside its directory.

The file is an uncompressed tar without anything of the machine in it (names sorted, no times, no owners, fixed modes), under
a name that Kaggle neither unpacks nor rewrites. Weights do not compress, so time is not spent on trying.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from stages.contract import BLOB_NAME, COMPILED_NAME, FileEntry, Manifest, stays_below

CHUNK_BYTES = 4 * 1024 * 1024
MEMBERS_MAX = 100_000
"""Files and folders of one archive: empty ones cost a disk more than their bytes."""
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
PLAIN_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
"""The only kinds of member besides directories; sparse files, which can be larger than their bytes, are not among them."""


class CorruptCheckpoint(Exception):
    """Bytes that are not what their manifest promises, or an archive that no `pack` of ours has written."""


class CannotPack(Exception):
    """Something in the directory is neither a file nor a directory."""


def pack(directory: Path, blob: Path) -> FileEntry:
    """Write everything below `directory` into the new file `blob`, on disk when this returns.

    The directory must not change meanwhile. Raises CannotPack for links and devices, FileExistsError where `blob` exists.
    """
    with blob.open("xb") as file:
        sink = _HashingSink(file)
        with tarfile.open(fileobj=cast(IO[bytes], sink), mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path in _contents(directory):
                _add(archive, path, path.relative_to(directory).as_posix())
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(path=blob.name, size_bytes=sink.size_bytes, sha256=sink.sha256())


def unpack(blob: Path, directory: Path, *, size_bytes_max: int, members_max: int = MEMBERS_MAX) -> None:
    """Restore what `pack` wrote into `directory`, which must not exist yet or be empty.

    Raises CorruptCheckpoint at the first member that is absolute, climbs out, appears twice, is neither a file nor a
    directory, takes the total over `size_bytes_max`, or is one too many; what was written until then is to be thrown away.
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
                _restore(archive, member, directory)
    except (tarfile.TarError, EOFError, ValueError, FileExistsError, NotADirectoryError) as error:
        raise CorruptCheckpoint(f"{blob.name} cannot be unpacked: {error}") from error


def texts_in(blob: Path, folder: str, *, size_bytes_max: int) -> dict[str, bytes]:
    """The plain files directly below `folder` in what `pack` wrote, by name, as long as they are small enough together.

    A name that could lead anywhere else is passed by. Raises CorruptCheckpoint where the archive cannot be read.
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
    """Check every file of the manifest in `folder`, sizes first; raises CorruptCheckpoint naming the file that differs."""
    verify_files(folder, manifest.files)


def verify_files(folder: Path, files: Sequence[FileEntry]) -> None:
    """Check these files of a manifest in `folder`, sizes first; raises CorruptCheckpoint naming the file that differs."""
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

    The compiled programs beside the state are left to whoever uses them: without them everything is only slower.
    """
    entry = next((entry for entry in manifest.files if entry.path == BLOB_NAME), None)
    if entry is None:
        raise CorruptCheckpoint(f"the manifest names no {BLOB_NAME}")
    verify_files(folder, [entry for entry in manifest.files if entry.path != COMPILED_NAME])
    unpack(folder / BLOB_NAME, directory, size_bytes_max=entry.size_bytes)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_new(path: Path, content: bytes) -> None:
    """Write a file that must not exist yet; it is on disk when this returns."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names in a directory last: without it a rename may be forgotten when the machine stops."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class _HashingSink:
    """What tarfile needs of a file to write to; counts and hashes what passes."""

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
    """Everything below a directory, parents before children, in the order of the names' bytes."""
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
