"""Copies of a data set among what is mounted: recognised by names or by rows, and ordered by whose they are."""

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
"""Rows of a file whose name tells nothing that are looked at."""


@dataclass(frozen=True)
class Copy:
    """Files of one format below one folder."""

    origin: Origin
    place: str
    """The folder, by its name within what is mounted."""
    form: tuple[int, int]
    """What orders copies of the same rank, the best first: format and configuration."""
    suffix: str
    train: tuple[Path, ...]
    held_out: tuple[Path, ...]
    by_number: bool = False
    """Whether the same files hold all splits, told apart by a number in each row."""
    problem: str = ""
    """Why these files, all of them in `train`, cannot be used; empty where they can."""
    named: bool = True
    """Whether the set was recognised by its name, not by the columns of the files alone."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Each file once."""
        return tuple(dict.fromkeys((*self.train, *self.held_out)))


def copies_of(known: KnownSet, folders: Iterable[MountedFolder]) -> Iterator[Copy]:
    """Every copy, in the order of the folders: of what the pipeline brings, of what else is mounted and of stand-ins.

    Of each of these kinds those come first that bear the set's name, and then those whose rows are the set's: only for the
    latter anything is opened. Of a folder's copies those that cannot be used come first. Copies of the same rank are ordered
    by format, by the set's preferred configurations and by what their files hold: never by their paths, which differ from
    session to session.
    """
    for _, kind in groupby(folders, key=lambda folder: "the pipeline's" if folder.origin.is_brought else folder.origin):
        some = list(kind)
        for find in (_named, _recognised_by_rows):
            for _, same in groupby(some, key=lambda folder: folder.rank):
                yield from _in_order(copy for folder in same for copy in find(known, folder))


def shows(known: KnownSet, copy: Copy) -> bool:
    """Whether a file of the copy begins with a row of the set's columns: a run that is called gsm8k leaves files without."""
    return any(_has(known, head_of(path, 1), known.columns) for path in copy.train)


def _named(known: KnownSet, folder: MountedFolder) -> Iterator[Copy]:
    for layout in layouts_of(known, sorted(folder.files)):
        yield _copy(layout, folder, named=True)


def _recognised_by_rows(known: KnownSet, folder: MountedFolder) -> Iterator[Copy]:
    homes: dict[PurePath, list[PurePath]] = {}
    for name, path in sorted(folder.files.items()):
        if is_data(name) and not bears_name(known, name) and not is_avoided(known, name) and _tells(known, path):
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
    """Those that cannot be used, for they are only told of, and then the others; files are read where nothing else decides."""
    found = sorted(copies, key=lambda copy: (copy.form, copy.place))
    yield from (copy for copy in found if copy.problem)
    for _, alike in groupby((copy for copy in found if not copy.problem), key=lambda copy: copy.form):
        same = list(alike)
        yield from same if len(same) == 1 else sorted(same, key=_content)


def _content(copy: Copy) -> str:
    """What orders copies that are alike in everything else; their files are read for it."""
    digests = "\n".join(sorted(file_sha256(path) for path in copy.files))
    return hashlib.sha256(digests.encode()).hexdigest()


def _tells(known: KnownSet, path: Path) -> bool:
    """Whether the first rows have the set's columns and one of them is an example."""
    rows = head_of(path, LOOKED_AT)
    return _has(known, rows, known.telling) and any(_is_example(known, row) for row in rows)


def _has(known: KnownSet, rows: Sequence[object], choices: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has the columns of one of the choices, and none that only another set has."""
    columns = rows[0].keys() if rows and isinstance(rows[0], dict) else set[str]()
    return columns.isdisjoint(known.unlike) and any(columns >= set(wanted) for wanted in choices)


def _is_example(known: KnownSet, row: object) -> bool:
    try:
        known.example(row)  # type: ignore[arg-type]  # whatever it is: an adapter raises Unfit
    except Unfit:
        return False
    return True
