"""Copies of a data set among what Kaggle has mounted: recognised by names of folders and files, however deep they lie."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from stages.contract import MANIFEST_NAME
from stages.data.sets import KnownSet

READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
"""Which reader of the `datasets` library reads a file, in the order in which a copy's formats are preferred."""

_OTHER_SPLITS = ("train", "test", "validation", "valid", "dev", "val", "prompt")


@dataclass(frozen=True)
class Copy:
    """Files of one format below one folder."""

    folder: Path
    suffix: str
    train: tuple[Path, ...]
    held_out: tuple[Path, ...]


def copies_of(known: KnownSet, inputs: Path) -> Iterator[Copy]:
    """Every mounted copy that has the splits, the least nested first; nothing has been opened yet.

    Hidden folders and symbolic links are passed by, and so are a run's own checkpoints, whatever the run is called.
    """
    found: dict[tuple[int, str, int], list[PurePath]] = {}
    for path in _data_files(inputs):
        depth = _recognised(path, known)
        if depth is None or any(_says(path, word) for word in known.avoid):
            continue
        folder = PurePath(*path.parts[:depth])
        rank = (depth, folder.as_posix(), list(READERS).index(path.suffix.lower()))
        found.setdefault(rank, []).append(path)
    for (_, folder_name, format_rank), paths in sorted(found.items()):
        best = _preferred(paths, known.prefer)
        below = {path: path.relative_to(folder_name) for path in best}
        train = _of_split(below, known.train)
        held_out = _of_split(below, known.held_out)
        if not known.splits_named and not train and not held_out:
            train = [path for path, rest in below.items() if path.suffix != ".json" and not _split_of(rest)]
        if train and (held_out or not known.held_out or not known.splits_named):
            yield Copy(
                folder=inputs / folder_name,
                suffix=list(READERS)[format_rank],
                train=tuple(inputs / path for path in train),
                held_out=tuple(inputs / path for path in held_out),
            )


def _data_files(inputs: Path) -> Iterator[PurePath]:
    """Paths relative to `inputs`, the same order on every machine."""
    for folder, folders, names in os.walk(inputs):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if MANIFEST_NAME in names:
            continue
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in READERS and not path.is_symlink():
                yield PurePath(path.relative_to(inputs))


def _recognised(path: PurePath, known: KnownSet) -> int | None:
    """How many parts of the path lead to the copy's folder: the first that bears the name, or the file's own folder."""
    for number, part in enumerate(path.parts, 1):
        if any(_within(word, part) for word in known.known_as):
            return min(number, len(path.parts) - 1)
    return None


def _preferred(paths: Sequence[PurePath], words: Sequence[str]) -> Sequence[PurePath]:
    for word in words:
        if some := [path for path in paths if _says(path, word)]:
            return some
    return paths


def _of_split(below: Mapping[PurePath, PurePath], splits: Sequence[str]) -> list[PurePath]:
    """The files of the first of these splits that has any."""
    for split in splits:
        if files := [path for path, rest in below.items() if _split_of(rest, split)]:
            return files
    return []


def _split_of(rest: PurePath, *splits: str) -> bool:
    """Whether a file's name, or else the name of the nearest folder that names any split, names one of these."""
    for part in (rest.stem, *reversed(rest.parts[:-1])):
        if any(_within(word, part) for word in (*_OTHER_SPLITS, *splits)):
            return any(_within(split, part) for split in splits or _OTHER_SPLITS)
    return False


def _says(path: PurePath, word: str) -> bool:
    return any(_within(word, part) for part in path.parts)


def _within(word: str, name: str) -> bool:
    """Whether the name has this word: between other characters than letters and digits."""
    spaced = re.sub(r"[^a-z0-9]+", "-", name.lower())
    return re.search(rf"(?<![a-z0-9]){re.escape(word.replace('_', '-'))}(?![a-z0-9])", spaced) is not None
