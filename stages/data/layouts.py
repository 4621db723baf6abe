"""How the files of a data set's copies lie: told from names alone, before anything is opened."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from stages.contract import MANIFEST_NAME
from stages.data.registry import KnownSet

SUFFIXES = (".parquet", ".arrow", ".jsonl", ".json", ".csv")
"""Formats that can be read, in the order in which a copy's formats are preferred."""
COMPRESSED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz")
UNREAD = (*COMPRESSED, ".xlsx", ".xls", ".ods", ".tsv", ".ndjson", ".pkl", ".feather")
"""Formats in which people keep rows, too, and that relay does not read."""
ABOUT = (
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "dataset-metadata.json",
    MANIFEST_NAME,
)
"""Files about what lies beside them, which the `datasets` library, Kaggle's own program and relay write."""

_OTHER_SPLITS = ("train", "test", "validation", "valid", "dev", "val", "prompt")


@dataclass(frozen=True)
class Layout:
    """Files of one format below one folder."""

    place: PurePath
    suffix: str
    preference: int = 0
    """Which of the configurations that the set prefers the files are of; their number where they are of none."""
    train: tuple[PurePath, ...] = ()
    held_out: tuple[PurePath, ...] = ()
    by_number: bool = False
    """Whether the same files hold all splits, told apart by a number in each row."""
    problem: str = ""
    """Why these files, all of them in `train`, cannot be used; empty where they can."""

    @property
    def form(self) -> tuple[int, int]:
        """What orders layouts, the best first: format and configuration, never the place."""
        return (*SUFFIXES, *UNREAD).index(self.suffix), self.preference


def layouts_of(known: KnownSet, paths: Iterable[PurePath]) -> list[Layout]:
    """The copies of the set that bear its name: the least nested first, and for each folder its formats in order.

    What cannot be used comes as a Layout with its `problem`, unless the same folder has a format that can.
    """
    found: dict[PurePath, list[PurePath]] = {}
    for path in paths:
        depth = _recognised(path, known) if is_data(path) or is_unread(path) else None
        if depth is not None:
            found.setdefault(PurePath(*path.parts[:depth]), []).append(path)
    order = sorted(found, key=lambda place: (len(place.parts), place.as_posix()))
    return [layout for place in order for layout in formats_of(known, place, found[place])]


def formats_of(known: KnownSet, place: PurePath, paths: Sequence[PurePath]) -> list[Layout]:
    """The layouts of the files of one copy, one for each format."""
    wanted = [path for path in paths if not is_avoided(known, path)]
    layouts = [
        _layout(known, place, suffix, some)
        for suffix in SUFFIXES
        if (some := [path for path in wanted if path.suffix.lower() == suffix])
    ]
    for suffix in UNREAD:
        if some := [path for path in wanted if path.suffix.lower() == suffix]:
            how = "unpack it" if suffix in COMPRESSED else "save it as .jsonl or .csv"
            problem = f"{', '.join(path.name for path in some)} is {suffix}, which relay does not read: {how}"
            layouts.append(Layout(place, suffix, train=tuple(some), problem=problem))
    if not layouts:
        suffix = paths[0].suffix.lower()
        return [Layout(place, suffix, train=tuple(paths), problem=f"it holds nothing but {_names(known.avoid)}")]
    return [layout for layout in layouts if not layout.problem] or layouts


def is_data(path: PurePath) -> bool:
    """Whether a file may hold rows."""
    return path.suffix.lower() in SUFFIXES and path.name not in ABOUT


def is_unread(path: PurePath) -> bool:
    """Whether a file may hold rows in a format that relay does not read."""
    return path.suffix.lower() in UNREAD


def bears_name(known: KnownSet, path: str | PurePath) -> bool:
    """Whether the name of the file, or that of a folder above it, has a word by which the set is known."""
    return _recognised(PurePath(path), known) is not None


def is_avoided(known: KnownSet, path: PurePath) -> bool:
    """Whether the file is of a configuration that is never read; a folder's name may tell all that are in it."""
    return all(word in known.avoid for word in _configurations(path, known))


def whole_copy(known: KnownSet, names: Iterable[str]) -> list[str]:
    """Those of the files, all in one folder, that are the best copy of the set by their names; none where none is whole."""
    layouts = [layout for layout in layouts_of(known, map(PurePath, names)) if not layout.problem]
    best = min(layouts, key=lambda layout: layout.form, default=None)
    return [path.name for path in dict.fromkeys((*best.train, *best.held_out))] if best else []


def names_split(known: KnownSet, name: str) -> bool:
    """Whether a file of rows is called after the set and after one of its splits."""
    path = PurePath(name)
    return is_data(path) and bears_name(known, path) and _split_of(path, *known.train, *known.held_out)


def home_of(path: PurePath) -> PurePath:
    """The folder in which a copy lies that has this file: that of the file, or the one above folders called after splits."""
    folder = path.parent
    while any(_within(split, folder.name) for split in _OTHER_SPLITS):
        folder = folder.parent
    return folder


def _layout(known: KnownSet, place: PurePath, suffix: str, paths: Sequence[PurePath]) -> Layout:
    preference, best = _preferred(paths, known)
    below = {path: path.relative_to(place) for path in best}
    train, held_out = _of_split(below, known.train), _of_split(below, known.held_out)
    unsaid = [path for path, rest in below.items() if not _split_of(rest)]
    files = f"its {suffix} files"
    if not train and not held_out and unsaid and known.numbered is not None:
        called = [path for path in unsaid if any(_within(word, path.name) for word in known.known_as)] or unsaid
        return Layout(place, suffix, preference, tuple(called), tuple(called), by_number=True)
    if not train and not held_out and not known.splits_named and suffix != ".json":
        train = unsaid
    if not train and not held_out:
        problem = f"none of {files} is called {_names(known.train)}"
    elif not train:
        problem = f"{files} have no split called {_names(known.train)}"
    elif not held_out and known.held_out and known.splits_named:
        problem = f"{files} have no split called {_names(known.held_out)}"
    else:
        return Layout(place, suffix, preference, tuple(train), tuple(held_out))
    return Layout(place, suffix, preference, tuple(paths), problem=problem)


def _names(splits: Sequence[str]) -> str:
    return " or ".join(splits)


def _recognised(path: PurePath, known: KnownSet) -> int | None:
    """How many parts of the path lead to the copy's folder: the first that bears the name, or the file's own folder."""
    for number, part in enumerate(path.parts, 1):
        if any(_within(word, part) for word in known.known_as):
            return min(number, len(path.parts) - 1)
    return None


def _configurations(path: PurePath, known: KnownSet) -> list[str]:
    """The configurations that the file's name names, or else the nearest folder that names any."""
    for part in reversed(path.parts):
        if said := [word for word in (*known.prefer, *known.avoid) if word and _within(word, part)]:
            return said
    return [""]


def _preferred(paths: Sequence[PurePath], known: KnownSet) -> tuple[int, Sequence[PurePath]]:
    """The files of the first of the set's configurations that any is of, and its number."""
    said = {path: _configurations(path, known) for path in paths}
    for number, word in enumerate(known.prefer):
        if some := [path for path in paths if word in said[path]]:
            return number, some
    return len(known.prefer), paths


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


def _within(word: str, name: str) -> bool:
    """Whether the name has this word: between other characters than letters and digits."""
    spaced = re.sub(r"[^a-z0-9]+", "-", name.lower())
    return re.search(rf"(?<![a-z0-9]){re.escape(word.replace('_', '-'))}(?![a-z0-9])", spaced) is not None
