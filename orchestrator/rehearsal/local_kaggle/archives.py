"""Archives of all files of a dataset, an output or a model version, which Kaggle sends if no file is named."""

import secrets
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from orchestrator.rehearsal.local_kaggle.stored_file import Content, Files


def zipped(directory: Path, files: Files, now: datetime) -> Content:
    """Write the files to an uncompressed zip archive below `directory`."""
    return _written(directory / "archives", "zip", files, now, write_zip)


def tarred(directory: Path, files: Files, now: datetime) -> Content:
    """Write the files to a gzipped tar archive below `directory`."""
    return _written(directory / "archives", "tar.gz", files, now, _write_tar)


def _written(
    folder: Path, suffix: str, files: Files, now: datetime, write: Callable[[Files, BinaryIO], None]
) -> Content:
    path = folder / f"{secrets.token_hex(12)}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        write(files, target)
    return Content.of_path(path, now)


def write_zip(files: Files, into: BinaryIO) -> None:
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
        for path, content in files.items():
            with content.open() as source, archive.open(path, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)


def _write_tar(files: Files, into: BinaryIO) -> None:
    with tarfile.open(fileobj=into, mode="w:gz", compresslevel=1) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime = content.size_bytes, int(content.modified.timestamp())
            with content.open() as source:
                archive.addfile(member, source)
