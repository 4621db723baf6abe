"""Find mounted copies of a data set, recognised by name or by columns, and order them by origin."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePath

from stages.data.fields import Unfit
from stages.data.files import head_of
from stages.data.layouts import Layout, bears_name, formats_of, home_of, is_avoided, is_data, layouts_of
from stages.data.mounted import MountedFolder, Origin, file_sha256
from stages.data.registry import KnownSet

LOOKED_AT = 5
"""Number of rows read from a file to recognise its data set by content."""


@dataclass(frozen=True)
class Copy:
    """A mounted copy of a data set: its files in one format."""

    origin: Origin
    place: str
    """Folder of the copy, relative to the mounts."""
    form: tuple[int, int]
    """Sort key of copies with the same rank, best first: format, then configuration."""
    suffix: str
    train: tuple[Path, ...]
    held_out: tuple[Path, ...]
    by_number: bool = False
    """True if the same files hold all splits, distinguished by a number in each row."""
    problem: str = ""
    """Why the files (all listed in `train`) cannot be used; empty if they can."""
    named: bool = True
    """True if the set was recognised by its name, False if only by the columns of its files."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, without duplicates."""
        return tuple(dict.fromkeys((*self.train, *self.held_out)))


def copies_of(known: KnownSet, folders: Iterable[MountedFolder]) -> Iterator[Copy]:
    """Yield all copies, in the order of the folders: listed in the pipeline, other mounts, stand-ins.

    Within each of these kinds, copies recognised by name come before copies recognised by columns; files are opened
    only for the latter. Among copies of the same rank, unusable ones come first, then they are ordered by format, by
    the set's preferred configurations and by content: never by path, because paths differ between sessions.
    """
    for _, kind in groupby(folders, key=lambda folder: "the pipeline's" if folder.origin.is_brought else folder.origin):
        some = list(kind)
        for find in (_named, _recognised_by_rows):
            for _, same in groupby(some, key=lambda folder: folder.rank):
                yield from _in_order(copy for folder in same for copy in find(known, folder))


def shows(known: KnownSet, copy: Copy) -> bool:
    """Return True if a file's first row has the set's columns. Output of a run named gsm8k, for example, has none."""
    return any(_has_columns(known, head_of(path, 1), known.columns) for path in copy.train)


def _named(known: KnownSet, folder: MountedFolder) -> Iterator[Copy]:
    for layout in layouts_of(known, sorted(folder.files)):
        yield _copy(layout, folder, named=True)


def _recognised_by_rows(known: KnownSet, folder: MountedFolder) -> Iterator[Copy]:
    homes: dict[PurePath, list[PurePath]] = {}
    for name, path in sorted(folder.files.items()):
        if is_data(name) and not bears_name(known, name) and not is_avoided(known, name) and _rows_match(known, path):
            homes.setdefault(home_of(name), []).append(name)
    for place, names in homes.items():
        for layout in formats_of(known, place, names):
            yield _copy(layout, folder, named=False)


def _copy(layout: Layout, folder: MountedFolder, *, named: bool) -> Copy:
    return Copy(
        origin=folder.origin,
        place=layout.place.as_posix(),
        form=layout.form,
        suffix=layout.suffix,
        train=tuple(folder.files[name] for name in layout.train),
        held_out=tuple(folder.files[name] for name in layout.held_out),
        by_number=layout.by_number,
        problem=layout.problem,
        named=named,
    )


def _in_order(copies: Iterable[Copy]) -> Iterator[Copy]:
    """Yield unusable copies first (they are only reported), then the others. Reads files only to break ties."""
    found = sorted(copies, key=lambda copy: (copy.form, copy.place))
    yield from (copy for copy in found if copy.problem)
    for _, alike in groupby((copy for copy in found if not copy.problem), key=lambda copy: copy.form):
        same = list(alike)
        yield from same if len(same) == 1 else sorted(same, key=_content_digest)


def _content_digest(copy: Copy) -> str:
    """Return a digest of the copy's files, to order copies that are otherwise equal."""
    digests = "\n".join(sorted(file_sha256(path) for path in copy.files))
    return hashlib.sha256(digests.encode()).hexdigest()


def _rows_match(known: KnownSet, path: Path) -> bool:
    """Return True if the first rows have the set's columns and at least one of them is a valid example."""
    rows = head_of(path, LOOKED_AT)
    return _has_columns(known, rows, known.telling) and any(_is_example(known, row) for row in rows)


def _has_columns(known: KnownSet, rows: Sequence[object], choices: Sequence[Sequence[str]]) -> bool:
    """Return True if the first row has all columns of one of the choices, and none that indicates another set."""
    columns = rows[0].keys() if rows and isinstance(rows[0], dict) else set[str]()
    return columns.isdisjoint(known.unlike) and any(columns >= set(wanted) for wanted in choices)


def _is_example(known: KnownSet, row: object) -> bool:
    try:
        known.example(row)  # type: ignore[arg-type]  # an adapter raises Unfit for any other type
    except Unfit:
        return False
    return True
