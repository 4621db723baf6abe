"""The list of an export's files, `export.json`, and the folder that appears complete or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from stages.contract import Cursor, FileEntry
from stages.documents import Versioned
from stages.session import packing
from stages.stage import StageFailed

EXPORT_NAME = "export.json"
ORBAX_MARK = "_METADATA"
"""File of an Orbax checkpoint that lies directly in its folder."""


@dataclass(frozen=True, kw_only=True)
class ExportManifest(Versioned):
    """Size and SHA-256 of every file of an export, and the checkpoint that it was made from."""

    kind: ClassVar[str] = "export"

    layout: str
    """`safetensors`, `peft` or `tunix`."""
    dtype: str
    run: str
    cursor: Cursor
    checkpoint: str
    """Digest of the checkpoint's manifest."""
    contents: dict[str, str] = field(default_factory=dict)
    """Digests of the checkpoint's contents: `weights`, `adapter`, …"""
    base_model: str
    model_kind: str
    """Family of the model, such as `gemma2` or `qwen3`: a kind without a size."""
    system: str
    """System prompt of the pipeline, which precedes every question."""
    base_sha256: str
    """Digest of the base weights (`checkpoints.tree_digest`)."""
    weights_sha256: str
    """`checkpoints.tree_digest` of the exported arrays in `dtype`, by Tunix's names, or PEFT's for an adapter."""
    licences: dict[str, str] = field(default_factory=dict)
    """Terms of the base model and of the data, by their names."""
    files: tuple[FileEntry, ...]

    @property
    def weights_folder(self) -> str:
        """Folder of the weights, relative to the export; of an Orbax checkpoint the one that directly holds its metadata."""
        marked = [Path(entry.path).parent for entry in self.files if Path(entry.path).name == ORBAX_MARK]
        return min(marked, key=lambda folder: len(folder.parts), default=Path()).as_posix()


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Provide a folder to fill, which gets its name at the end of the `with` block unless that raises.

    Raises StageFailed `export-exists` if the target exists.
    """
    if target.exists() or target.is_symlink():
        raise StageFailed("export-exists", f"{target} exists already: name another folder, or remove it first")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(target)
        packing.sync_directory(target.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def file_entries(folder: Path) -> tuple[FileEntry, ...]:
    """Hash all files below a folder, and sync them to disk."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        name = path.relative_to(folder).as_posix()
        found.append(FileEntry(path=name, size_bytes=path.stat().st_size, sha256=packing.sha256_of(path)))
    return tuple(found)
