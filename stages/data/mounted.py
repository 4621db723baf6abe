"""Tells what is mounted in a session apart by what it is, so that no choice depends on where or how deep Kaggle mounted it."""

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
"""A file of this name marks everything beside and below it as made up, for rehearsals."""

MOUNT_DEPTHS = {"datasets": 3, "notebooks": 3, "models": 6}
"""How many parts of a path below `/kaggle/input` lead to a thing that is mounted, by the first part; elsewhere one does."""


class Origin(StrEnum):
    """Where the rows of a data set come from; the first that has them is taken."""

    FILES = "inputs.files"
    DATASETS = "inputs.datasets"
    OTHER = "another mount"
    STAND_IN = "stand-in"
    HUB = "the Hugging Face hub"

    @property
    def is_brought(self) -> bool:
        """Whether the pipeline itself names where the rows are."""
        return self in (Origin.FILES, Origin.DATASETS)


@dataclass(frozen=True)
class Brought:
    """The data that the pipeline itself names, as the order tells it."""

    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each of `inputs.files`, by file name."""
    datasets: tuple[str, ...] = ()
    """`inputs.datasets` in order, each `owner/slug`."""
    problems: frozenset[str] = frozenset()
    """Those of the files that a stage's `data:` names by themselves: no part of a set, whatever they are called."""


@dataclass(frozen=True)
class MountedFolder:
    """One thing that is mounted, or the files of `inputs.files` wherever they are.

    `files` gives each file's path by its name within: the name under which the whole is mounted, and the path below. A
    file of `inputs.files` has no more than its own name.
    """

    origin: Origin
    number: int
    """The place in `inputs.datasets`; 0 for everything else."""
    files: Mapping[PurePath, Path]

    @property
    def rank(self) -> tuple[int, int]:
        """Folders of a lower rank are preferred; those of the same rank differ only by what is in them."""
        return list(Origin).index(self.origin), self.number


def named_alone(files: Iterable[str], options: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Those of the files that a stage's `data:` names by themselves; `options` are the stages'."""
    data = [each.get("data") or () for each in options]
    named = {str(entry).partition(":")[0] for each in data if isinstance(each, (list, tuple)) for entry in each}
    return frozenset(name for name in files if name in named)


def mounted_folders(inputs: Path, brought: Brought) -> tuple[MountedFolder, ...]:
    """Everything that lies below `inputs`, the user's own first and stand-ins last.

    Hidden folders and symbolic links are passed by, and so are a run's own checkpoints and the output of its sessions,
    whatever the run is called.
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
    """What the pipeline names and the session does not have: file names, and datasets as `owner/slug`."""
    files = {name.name for folder in folders if folder.origin is Origin.FILES for name in folder.files}
    tops = {name.parts[0] for folder in folders for name in folder.files}
    datasets = [ref for ref in brought.datasets if _slug(ref) not in tops]
    return [*(name for name in brought.files if name not in files | brought.problems), *datasets]


def files_called(name: str, inputs: Path, sha256: str = "") -> list[Path]:
    """Every mounted file of this name, those with these bytes where a digest is given; in the order of their content."""
    found = [inputs / path for path, is_stand_in in _files(inputs) if path.name == name and not is_stand_in]
    return sorted((path for path in found if sha256 in ("", file_sha256(path))), key=file_sha256)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes in hex, computed once while the file stays as it is."""
    about = path.stat()
    return _sha256(path, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, _size_bytes: int, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(inputs: Path) -> Iterator[tuple[PurePath, bool]]:
    """Paths relative to `inputs`, the same order on every machine, and whether each is a stand-in."""
    marked: set[Path] = set()
    for place, folders, names in os.walk(inputs):
        folder = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if STAND_IN_MARK in names or folder.parent in marked:
            marked.add(folder)
        # Of a checkpoint no more than the manifest, which tells that something is mounted here.
        for name in [MANIFEST_NAME] if MANIFEST_NAME in names else sorted(names):
            if not (folder / name).is_symlink():
                yield PurePath((folder / name).relative_to(inputs)), folder in marked


def _root(path: PurePath) -> PurePath:
    """The path to the thing that is mounted; a file that lies at the top is one by itself."""
    depth = min(MOUNT_DEPTHS.get(path.parts[0], 1), len(path.parts) - 1)
    return PurePath(*path.parts[:depth]) if depth else path


def _origin(root: PurePath, datasets: tuple[str, ...]) -> tuple[Origin, int]:
    for number, ref in enumerate(datasets):
        if root.parts in ((_slug(ref),), ("datasets", *ref.split("/")[:2])):
            return Origin.DATASETS, number
    return Origin.OTHER, 0


def _slug(ref: str) -> str:
    return ref.partition("/")[2].partition("/")[0]
