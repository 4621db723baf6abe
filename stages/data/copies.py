"""Copies of a data set among what is mounted: recognised by names of folders and files, ranked by whose they are."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePath

from stages.data.mounted import MountedFolder, Origin, file_sha256
from stages.data.sets import KnownSet

READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
"""Which reader of the `datasets` library reads a file, in the order in which a copy's formats are preferred."""

_OTHER_SPLITS = ("train", "test", "validation", "valid", "dev", "val", "prompt")


@dataclass(frozen=True)
class Copy:
    """Files of one format below one folder, whose name `place` is."""

    origin: Origin
    place: str
    suffix: str
    preference: int
    """Which of the set's preferred words its files bear; their number where they bear none."""
    train: tuple[Path, ...]
    held_out: tuple[Path, ...]


def copies_of(known: KnownSet, folders: Iterable[MountedFolder]) -> Iterator[Copy]:
    """Every copy that has the splits, in the order of the folders; nothing has been opened yet.

    Copies of the same rank are ordered by format, by the set's preferred words and by what their files hold: never by
    their paths, which differ from session to session.
    """
    for _, same in groupby(folders, key=lambda folder: folder.rank):
        found = sorted((copy for folder in same for copy in _copies_in(known, folder)), key=_form)
        for _, alike in groupby(found, key=_form):
            copies = list(alike)
            yield from copies if len(copies) == 1 else sorted(copies, key=_content)


def brings(known: KnownSet, names: Iterable[str]) -> bool:
    """Whether files of these names, all in one folder, are a copy of the set."""
    return any(_copies_in(known, MountedFolder(Origin.FILES, 0, {PurePath(name): Path(name) for name in names})))


def bears_name(known: KnownSet, name: str) -> bool:
    """Whether a file or a folder is called after the set."""
    return any(_within(word, name) for word in known.known_as)


def names_split(known: KnownSet, name: str) -> bool:
    """Whether a data file is called after the set and after one of its splits."""
    path = PurePath(name)
    named = _split_of(path, *known.train, *known.held_out)
    return path.suffix.lower() in READERS and bears_name(known, name) and named


def _copies_in(known: KnownSet, folder: MountedFolder) -> Iterator[Copy]:
    found: dict[tuple[str, str], list[PurePath]] = {}
    for path in sorted(folder.files):
        depth = _recognised(path, known) if path.suffix.lower() in READERS else None
        if depth is None or any(_says(path, word) for word in known.avoid):
            continue
        found.setdefault((PurePath(*path.parts[:depth]).as_posix(), path.suffix.lower()), []).append(path)
    for (place, suffix), paths in found.items():
        preference, best = _preferred(paths, known.prefer)
        below = {path: path.relative_to(place) for path in best}
        train = _of_split(below, known.train)
        held_out = _of_split(below, known.held_out)
        if not known.splits_named and not train and not held_out:
            train = [path for path, rest in below.items() if path.suffix != ".json" and not _split_of(rest)]
        if train and (held_out or not known.held_out or not known.splits_named):
            yield Copy(
                origin=folder.origin,
                place=place,
                suffix=suffix,
                preference=preference,
                train=tuple(folder.files[path] for path in train),
                held_out=tuple(folder.files[path] for path in held_out),
            )


def _form(copy: Copy) -> tuple[int, int]:
    """What orders copies of the same rank."""
    return list(READERS).index(copy.suffix), copy.preference


def _content(copy: Copy) -> str:
    """What orders copies that are alike in everything else; their files are read for it."""
    digests = "\n".join(sorted(file_sha256(path) for path in (*copy.train, *copy.held_out)))
    return hashlib.sha256(digests.encode()).hexdigest()


def _recognised(path: PurePath, known: KnownSet) -> int | None:
    """How many parts of the path lead to the copy's folder: the first that bears the name, or the file's own folder."""
    for number, part in enumerate(path.parts, 1):
        if any(_within(word, part) for word in known.known_as):
            return min(number, len(path.parts) - 1)
    return None


def _preferred(paths: Sequence[PurePath], words: Sequence[str]) -> tuple[int, Sequence[PurePath]]:
    """The files that bear the first of these words that any bears, and its number."""
    for number, word in enumerate(words):
        if some := [path for path in paths if _says(path, word)]:
            return number, some
    return len(words), paths


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
