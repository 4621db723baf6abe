"""Downloads from a platform's folder that end up complete or not at all: hashed on the way, resumed, renamed when whole."""

import hashlib
import os
from pathlib import Path, PurePosixPath

from orchestrator.base.disk import disk_errors, sync_folder
from orchestrator.base.errors import Corrupt
from orchestrator.platforms.port import Downloaded, FileWanted
from orchestrator.platforms.shell_host import ShellHost

BLOCK_BYTES = 2**20


def fetch(host: ShellHost, source: PurePosixPath, into: Path, wanted: FileWanted) -> Downloaded:
    """Download one file of a host. See `Platform.download`; raises Transient if it cannot be read to its end."""
    if wanted.sha256 is not None and into.is_file() and not wanted.problem(*_measured(into)):
        return _downloaded(into)
    part = into.with_name(into.name + ".part")
    with disk_errors(part):
        into.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.exists() and wanted.sha256 is not None else 0
    _receive(host, source, part, have, wanted)
    if have and wanted.problem(*_measured(part)):
        _receive(host, source, part, 0, wanted)  # the partial file belonged to another one
    if problem := wanted.problem(*_measured(part)):
        _set_aside(part, wanted)
        raise Corrupt(f"{into.name} is not what was promised: {problem}")
    with disk_errors(into):
        part.replace(into)
        sync_folder(into.parent)
    return _downloaded(into)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file on this machine, in hex."""
    return _measured(path)[1]


def _receive(host: ShellHost, source: PurePosixPath, part: Path, have: int, wanted: FileWanted) -> None:
    """Append what lies behind the first `have` bytes; stop once the file is larger than it may be."""
    tail = ("tail", "-c", f"+{have + 1}", str(source))
    with host.reading(*tail) as stream, disk_errors(part), part.open("ab" if have else "wb") as file:
        while (block := stream.read(BLOCK_BYTES)) and not wanted.too_large(have):
            file.write(block)
            have += len(block)
        os.fsync(file.fileno())


def _set_aside(part: Path, wanted: FileWanted) -> None:
    with disk_errors(part):
        if wanted.damaged is not None:
            wanted.damaged.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.replace(wanted.damaged)
        part.unlink(missing_ok=True)


def _measured(path: Path) -> tuple[int, str]:
    """Return size in bytes and SHA-256 of a file."""
    with disk_errors(path), path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _downloaded(path: Path) -> Downloaded:
    size_bytes, sha256 = _measured(path)
    return Downloaded(path=path, size_bytes=size_bytes, sha256=sha256)
