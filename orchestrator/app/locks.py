"""Writes the lock of a pipeline's environment: `relay environment lock`."""

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.base.disk import disk_errors, write_whole
from orchestrator.base.errors import BadInput
from orchestrator.pipeline import loader, locking
from orchestrator.pipeline.lock_files import read_lock
from stages.session.package_lock import LOCK_SUFFIX, BadLock, PackageLock, names_lock


@dataclass(frozen=True)
class WrittenLock:
    """Lock that was written, and the name by which the pipeline's `environment` refers to its file."""

    path: Path
    name: str
    lock: PackageLock


def lock_pipeline(path: Path, output: Path | None) -> WrittenLock:
    """Resolve the pins of the pipeline file `path` and write their lock to `output`, by default beside it.

    Replaces a file only if that is a lock. Raises BadInput if the pipeline installs nothing, if the pins cannot be
    resolved, or if the file cannot be written; then nothing has changed.
    """
    pipeline = loader.load(path)
    target = path.with_name(path.stem + LOCK_SUFFIX) if output is None else output
    if not pipeline.pins:
        raise BadInput(f"{pipeline.name} installs nothing, so there is nothing to lock: environment is empty")
    _require_writable(target)
    lock = locking.made(pipeline.pins)
    with disk_errors(target):
        write_whole(target, locking.file_text(lock).encode())
    return WrittenLock(target, Path(os.path.relpath(target, path.parent)).as_posix(), lock)


def _require_writable(target: Path) -> None:
    if not names_lock(target.name):
        raise BadInput(
            f"{target}: a lock file's name ends in {LOCK_SUFFIX}, by which environment knows it: name another"
        )
    if not target.parent.is_dir():
        raise BadInput(f"{target.parent} is not a folder: name a file in one that exists")
    if target.exists():
        try:
            read_lock(target)
        except (BadLock, OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{target} exists and is not a lock: remove it, or name another file") from error
