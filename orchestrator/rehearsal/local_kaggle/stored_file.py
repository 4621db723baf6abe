"""Files of the local Kaggle: in memory for simulations, on disk where real kernels run."""

import hashlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Self


@dataclass(frozen=True)
class Content:
    """Immutable file. `etag` changes if the bytes do."""

    source: bytes | Path = field(repr=False)
    size_bytes: int
    modified: datetime
    etag: str

    @classmethod
    def of_bytes(cls, data: bytes, modified: datetime) -> Self:
        """Create a file in memory."""
        return cls(data, len(data), modified, f'"{hashlib.sha256(data).hexdigest()[:32]}"')

    @classmethod
    def of_path(cls, path: Path, modified: datetime) -> Self:
        """Refer to a file on disk, which must not change any more."""
        stat = path.stat()
        return cls(path, stat.st_size, modified, f'"{stat.st_size:x}-{stat.st_mtime_ns:x}-{stat.st_ino:x}"')

    def open(self) -> BinaryIO:
        """Open a stream at the first byte."""
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")

    def read(self) -> bytes:
        """Return all bytes."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    def copy_to(self, path: Path) -> None:
        """Write the bytes to a new read-only file, creating its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.source, bytes):
            path.write_bytes(self.source)
        else:
            shutil.copyfile(self.source, path)
        path.chmod(0o444)


Files = dict[str, Content]
"""Files by path, relative to the folder in which they belong."""


def spoilt(files: Files, spoil: Callable[[bytes], bytes]) -> Files:
    """Return the files with `spoil` applied to the largest one; unchanged if all are empty."""
    name = max(files, key=lambda path: files[path].size_bytes, default=None)
    if name is None or not files[name].size_bytes:
        return files
    return {**files, name: Content.of_bytes(spoil(files[name].read()), files[name].modified)}


def swapped(files: Files) -> Files:
    """Return the files with the contents of the two largest exchanged."""
    largest = sorted(files, key=lambda path: files[path].size_bytes, reverse=True)[:2]
    if len(largest) < 2:
        return files
    first, second = largest
    return {**files, first: files[second], second: files[first]}


def without_largest(files: Files) -> Files:
    """Return the files without the largest one."""
    largest = max(files, key=lambda path: files[path].size_bytes, default=None)
    return {name: file for name, file in files.items() if name != largest}
