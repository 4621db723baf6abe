"""Copies of a data set among what Kaggle has mounted, however deep they lie."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from stages.contract import MANIFEST_NAME
from stages.data.fields import Unfit
from stages.data.files import head_of
from stages.data.layouts import Layout, bears_name, formats_of, home_of, is_data, layouts_of
from stages.data.sets import KnownSet

LOOKED_AT = 5
"""Rows of a file whose name tells nothing that are looked at."""


@dataclass(frozen=True)
class Copy:
    """Files of one format below one folder."""

    folder: Path
    suffix: str
    train: tuple[Path, ...]
    held_out: tuple[Path, ...]
    by_number: bool = False
    """Whether the same files hold all splits, told apart by a number in each row."""
    problem: str = ""
    """Why these files, all of them in `train`, cannot be used; empty where they can."""
    named: bool = True
    """Whether the set was recognised by its name, not by the columns of the files alone."""


def copies_of(known: KnownSet, inputs: Path) -> Iterator[Copy]:
    """Every mounted copy: those that bear the set's name, the least nested first, then those whose rows are the set's.

    Of the first kind nothing has been opened yet. Hidden folders and symbolic links are passed by, and so are a run's own
    checkpoints, whatever the run is called.
    """
    files = list(data_files(inputs))
    for layout in layouts_of(known, files):
        yield _copy(layout, inputs, named=True)
    homes: dict[PurePath, list[PurePath]] = {}
    for path in files:
        if not bears_name(known, path) and _tells(known, inputs / path):
            homes.setdefault(home_of(path), []).append(path)
    for place, paths in homes.items():
        for layout in formats_of(known, place, paths):
            yield _copy(layout, inputs, named=False)


def shows(known: KnownSet, copy: Copy) -> bool:
    """Whether a file of the copy begins with a row of the set's columns: a run that is called gsm8k leaves files without."""
    return any(_has(head_of(path, 1), known.columns) for path in copy.train)


def _copy(layout: Layout, inputs: Path, *, named: bool) -> Copy:
    return Copy(
        folder=inputs / layout.place,
        suffix=layout.suffix,
        train=tuple(inputs / path for path in layout.train),
        held_out=tuple(inputs / path for path in layout.held_out),
        by_number=layout.by_number,
        problem=layout.problem,
        named=named,
    )


def _tells(known: KnownSet, path: Path) -> bool:
    """Whether the first rows have the set's columns and one of them is an example."""
    rows = head_of(path, LOOKED_AT)
    return _has(rows, known.telling) and any(_is_example(known, row) for row in rows)


def _has(rows: Sequence[object], choices: Sequence[Sequence[str]]) -> bool:
    return bool(rows) and isinstance(rows[0], dict) and any(rows[0].keys() >= set(columns) for columns in choices)


def _is_example(known: KnownSet, row: object) -> bool:
    try:
        known.example(row)  # type: ignore[arg-type]  # whatever it is: an adapter raises Unfit
    except Unfit:
        return False
    return True


def data_files(inputs: Path) -> Iterator[PurePath]:
    """Paths relative to `inputs`, the same order on every machine."""
    for folder, folders, names in os.walk(inputs):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if MANIFEST_NAME in names:
            continue
        for name in sorted(names):
            path = Path(folder, name)
            if is_data(path) and not path.is_symlink():
                yield PurePath(path.relative_to(inputs))
