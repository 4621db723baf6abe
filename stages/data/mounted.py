"""Classify what is mounted in a session by its kind, so that no choice depends on Kaggle's mount paths."""

import functools
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any

from stages.contract import MANIFEST_NAME, OUTPUT_DIRECTORY

STAND_IN_MARK = "stand-in.txt"
"""Name of the marker file for stand-in data, made up for rehearsals: everything beside and below it."""

MOUNT_DEPTHS = {"datasets": 3, "notebooks": 3, "models": 6}
"""Number of path parts of a mount below `/kaggle/input`, by the first part; one for all others."""


class Origin(StrEnum):
    """Source of a data set's rows, in order of preference."""

    FILES = "inputs.files"
    DATASETS = "inputs.datasets"
    OTHER = "another mount"
    STAND_IN = "stand-in"
    HUB = "the Hugging Face hub"

    @property
    def is_brought(self) -> bool:
        """True if the pipeline file lists the source."""
        return self in (Origin.FILES, Origin.DATASETS)


@dataclass(frozen=True)
class Brought:
    """Data listed in the pipeline file."""

    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each of `inputs.files`, by file name."""
    datasets: tuple[str, ...] = ()
    """`inputs.datasets` in order, each `owner/slug`."""
    problems: frozenset[str] = frozenset()
    """Files that a stage's `data:` or `questions:` names. They are never taken for part of a known set."""


@dataclass(frozen=True)
class MountedFolder:
    """Mounted dataset, kernel output or model, or all files of `inputs.files` together.

    `files` maps names to paths. A name is the mount's name followed by the path below it; for `inputs.files` it is the
    file name alone.
    """

    origin: Origin
    number: int
    """Position in `inputs.datasets`; 0 for other origins."""
    files: Mapping[PurePath, Path]

    @property
    def rank(self) -> tuple[int, int]:
        """Sort key: lower ranks are preferred. Folders of equal rank are ordered by their content."""
        return list(Origin).index(self.origin), self.number


def named_alone(files: Iterable[str], options: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the files that a stage's `data:` or `questions:` names; `options` are the options of all stages."""
    given = list(options)
    data = [each.get("data") or () for each in given] + [[each.get("questions")] for each in given]
    named = {str(entry).partition(":")[0] for each in data if isinstance(each, (list, tuple)) for entry in each}
    return frozenset(name for name in files if name in named)


def mounted_folders(inputs: Path, brought: Brought) -> tuple[MountedFolder, ...]:
    """Return everything mounted below `inputs`, sorted by rank: the user's own data first.

    Hidden folders and symbolic links are skipped, and so are the checkpoints and session outputs of runs.
    """
    own: dict[PurePath, Path] = {}
    found: dict[tuple[Origin, int, PurePath], dict[PurePath, Path]] = {}
    for path, is_stand_in in _files(inputs):
        wanted = "" if is_stand_in else brought.files.get(path.name, "")
        if wanted and file_sha256(inputs / path) == wanted:
            if path.name not in brought.problems:
                own.setdefault(PurePath(path.name), inputs / path)
            continue
        root = _root(path)
        origin, number = (Origin.STAND_IN, 0) if is_stand_in else _origin(root, brought.datasets)
        name = path.relative_to(root.parent)
        if origin is not Origin.OTHER or name.parts[1:2] != (OUTPUT_DIRECTORY,):
            found.setdefault((origin, number, root), {})[name] = inputs / path
    folders = [MountedFolder(origin, number, files) for (origin, number, _), files in found.items()]
    folders += [MountedFolder(Origin.FILES, 0, own)] if own else []
    return tuple(sorted(folders, key=lambda folder: folder.rank))


def not_mounted(brought: Brought, folders: tuple[MountedFolder, ...]) -> list[str]:
    """Return what the pipeline lists but the session lacks: file names, and datasets as `owner/slug`."""
    files = {name.name for folder in folders if folder.origin is Origin.FILES for name in folder.files}
    tops = {name.parts[0] for folder in folders for name in folder.files}
    datasets = [ref for ref in brought.datasets if _slug(ref) not in tops]
    return [*(name for name in brought.files if name not in files | brought.problems), *datasets]


def files_called(name: str, inputs: Path, sha256: str = "") -> list[Path]:
    """Return all mounted files with this name (and SHA-256, if given), ordered by digest."""
    found = [inputs / path for path, is_stand_in in _files(inputs) if path.name == name and not is_stand_in]
    return sorted((path for path in found if sha256 in ("", file_sha256(path))), key=file_sha256)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex, cached until its size or modification time changes."""
    about = path.stat()
    return _sha256(path, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, _size_bytes: int, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(inputs: Path) -> Iterator[tuple[PurePath, bool]]:
    """Yield (path relative to `inputs`, is a stand-in), in the same order on every machine."""
    marked: set[Path] = set()
    for place, folders, names in os.walk(inputs):
        folder = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if STAND_IN_MARK in names or folder.parent in marked:
            marked.add(folder)
        # Of a checkpoint only the manifest is listed: it shows that the mount exists.
        for name in [MANIFEST_NAME] if MANIFEST_NAME in names else sorted(names):
            if not (folder / name).is_symlink():
                yield PurePath((folder / name).relative_to(inputs)), folder in marked


def _root(path: PurePath) -> PurePath:
    """Return the path of the mount that contains the file; a file at the top level is a mount by itself."""
    depth = min(MOUNT_DEPTHS.get(path.parts[0], 1), len(path.parts) - 1)
    return PurePath(*path.parts[:depth]) if depth else path


def _origin(root: PurePath, datasets: tuple[str, ...]) -> tuple[Origin, int]:
    for number, ref in enumerate(datasets):
        if root.parts in ((_slug(ref),), ("datasets", *ref.split("/")[:2])):
            return Origin.DATASETS, number
    return Origin.OTHER, 0


def _slug(ref: str) -> str:
    return ref.partition("/")[2].partition("/")[0]
