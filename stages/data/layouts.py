"""Recognise copies of a data set, their formats and splits from file and folder names, before any file is opened."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from stages.contract import MANIFEST_NAME
from stages.data.registry import KnownSet

SUFFIXES = (".parquet", ".arrow", ".jsonl", ".json", ".csv")
"""Readable formats, most preferred first."""
COMPRESSED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz")
UNREAD = (*COMPRESSED, ".xlsx", ".xls", ".ods", ".tsv", ".ndjson", ".pkl", ".feather")
"""Common formats of data files that relay cannot read."""
ABOUT = (
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "dataset-metadata.json",
    MANIFEST_NAME,
)
"""Names of metadata files written by the `datasets` library, Kaggle's client and relay. They hold no rows."""

_OTHER_SPLITS = ("train", "test", "validation", "valid", "dev", "val", "prompt")


@dataclass(frozen=True)
class Layout:
    """Files of one format in one copy of a data set."""

    place: PurePath
    suffix: str
    preference: int = 0
    """Index of the files' configuration in the set's preferred ones; the number of preferred ones if it is none of
    them."""
    train: tuple[PurePath, ...] = ()
    held_out: tuple[PurePath, ...] = ()
    by_number: bool = False
    """True if the same files hold all splits, distinguished by a number in each row."""
    problem: str = ""
    """Why the files (all listed in `train`) cannot be used; empty if they can."""

    @property
    def form(self) -> tuple[int, int]:
        """Sort key, best first: format, then configuration, never the location."""
        return (*SUFFIXES, *UNREAD).index(self.suffix), self.preference


def layouts_of(known: KnownSet, paths: Iterable[PurePath]) -> list[Layout]:
    """Return the copies recognised by the set's name: least nested first, and for each folder its formats in order.

    Unusable files are returned as a Layout with a `problem`, unless the same folder has a usable format.
    """
    found: dict[PurePath, list[PurePath]] = {}
    for path in paths:
        depth = _recognised(path, known) if is_data(path) or is_unread(path) else None
        if depth is not None:
            found.setdefault(PurePath(*path.parts[:depth]), []).append(path)
    order = sorted(found, key=lambda place: (len(place.parts), place.as_posix()))
    return [layout for place in order for layout in formats_of(known, place, found[place])]


def formats_of(known: KnownSet, place: PurePath, paths: Sequence[PurePath]) -> list[Layout]:
    """Return the layouts of one copy's files, one per format."""
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
    """Return True if the file name suggests rows in a readable format."""
    return path.suffix.lower() in SUFFIXES and path.name not in ABOUT


def is_unread(path: PurePath) -> bool:
    """Return True if the file name suggests rows in a format that relay cannot read."""
    return path.suffix.lower() in UNREAD


def bears_name(known: KnownSet, path: str | PurePath) -> bool:
    """Return True if the name of the file or of a folder above it contains one of the set's known names."""
    return _recognised(PurePath(path), known) is not None


def is_avoided(known: KnownSet, path: PurePath) -> bool:
    """Return True if the file belongs to an excluded configuration, by its own name or by that of a folder."""
    return all(word in known.avoid for word in _configurations(path, known))


def whole_copy(known: KnownSet, names: Iterable[str]) -> list[str]:
    """Return the files, all from one folder, of the best complete copy by name; empty if no copy is complete."""
    layouts = [layout for layout in layouts_of(known, map(PurePath, names)) if not layout.problem]
    best = min(layouts, key=lambda layout: layout.form, default=None)
    return [path.name for path in dict.fromkeys((*best.train, *best.held_out))] if best else []


def names_split(known: KnownSet, name: str) -> bool:
    """Return True if the name of a data file contains both the set's name and one of its splits."""
    path = PurePath(name)
    return is_data(path) and bears_name(known, path) and _split_of(path, *known.train, *known.held_out)


def home_of(path: PurePath) -> PurePath:
    """Return the folder of the copy that contains the file: its own, or the first above folders named after splits."""
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
        called = [path for path in unsaid if _is_called(known, path.name)] or unsaid
        return Layout(place, suffix, preference, tuple(called), tuple(called), by_number=True)
    if not train and not held_out and not known.splits_named:
        # A folder of the set's name may hold other JSON: the files of a model, the output of a run.
        train = [path for path in unsaid if suffix != ".json" or _is_called(known, path.name)]
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
    """Return the number of path parts of the copy's folder: the first with the set's name, or the file's own folder."""
    for number, part in enumerate(path.parts, 1):
        if _is_called(known, part):
            return min(number, len(path.parts) - 1)
    return None


def _is_called(known: KnownSet, part: str) -> bool:
    """Return True if the name of a file or folder contains one of the set's known names."""
    return any(_within(word, part) for word in known.known_as)


def _configurations(path: PurePath, known: KnownSet) -> list[str]:
    """Return the configurations in the file's name, else those in the nearest folder name that contains any."""
    for part in reversed(path.parts):
        if said := [word for word in (*known.prefer, *known.avoid) if word and _within(word, part)]:
            return said
    return [""]


def _preferred(paths: Sequence[PurePath], known: KnownSet) -> tuple[int, Sequence[PurePath]]:
    """Return the index of the most preferred configuration that has files, and these files."""
    said = {path: _configurations(path, known) for path in paths}
    for number, word in enumerate(known.prefer):
        if some := [path for path in paths if word in said[path]]:
            return number, some
    return len(known.prefer), paths


def _of_split(below: Mapping[PurePath, PurePath], splits: Sequence[str]) -> list[PurePath]:
    """Return the files of the first of these splits that has any."""
    for split in splits:
        if files := [path for path, rest in below.items() if _split_of(rest, split)]:
            return files
    return []


def _split_of(rest: PurePath, *splits: str) -> bool:
    """Return True if the file's name, else the nearest folder name with a split, contains one of `splits` (or any)."""
    for part in (rest.stem, *reversed(rest.parts[:-1])):
        if any(_within(word, part) for word in (*_OTHER_SPLITS, *splits)):
            return any(_within(split, part) for split in splits or _OTHER_SPLITS)
    return False


def _within(word: str, name: str) -> bool:
    """Return True if the name contains the word, delimited by characters other than letters and digits."""
    spaced = re.sub(r"[^a-z0-9]+", "-", name.lower())
    return re.search(rf"(?<![a-z0-9]){re.escape(word.replace('_', '-'))}(?![a-z0-9])", spaced) is not None
