"""Opens a data set's rows with the `datasets` library: a copy that Kaggle has mounted, or else the Hugging Face hub."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.data.copies import Copy, copies_of, data_files, shows
from stages.data.fields import number_of
from stages.data.files import Part, Rows, columns_of, rows_of
from stages.data.sets import KnownSet, Numbered
from stages.stage import StageFailed

MISSING = "data-missing"


@dataclass(frozen=True)
class Opened:
    """A data set that can be read."""

    train: Rows
    held_out: Rows
    notes: tuple[str, ...] = ()
    """What the user should know about where the rows are from: copies that were passed by, and why."""


class OtherColumns(ValueError):
    """These files bear the set's name and hold something else."""


def open_rows(known: KnownSet, inputs: Path, cache: Path) -> Opened:
    """The rows of the set, from a mounted copy where there is one, else from the hub; `cache` takes what reading needs.

    Raises StageFailed `data-missing` (transient: a mount or the network may be there next time) with where was looked. A
    copy that cannot be read is not replaced by the hub's rows: the user may have mounted others than those.
    """
    _be_quiet()
    looked: list[str] = []
    notes: list[str] = []
    for copy in copies_of(known, inputs):
        place = copy.folder.relative_to(inputs).as_posix()
        if copy.problem:
            looked.append(f"the mounted {place} cannot be used ({copy.problem})")
            notes += looked[-1:] if shows(known, copy) else []
            continue
        said = () if copy.named else (f"the mounted {place} is {known.name} by its rows, though not by its name",)
        try:
            return _opened(known, copy, cache, (*notes, *said))
        except OtherColumns as error:
            looked.append(f"the mounted {place} is another set ({error})")
        except _errors() as error:
            reason = f"data: the mounted copy of {known.name}, {place}, cannot be read ({_first_line(error)}): mount it again"
            raise StageFailed(MISSING, reason, transient=True) from error
    try:
        return _fetched(known, cache, tuple(notes))
    except _errors() as error:
        raise StageFailed(
            MISSING, _missing(known, looked or _unrecognised(known, inputs), error), transient=True
        ) from error


def _opened(known: KnownSet, copy: Copy, cache: Path, notes: tuple[str, ...]) -> Opened:
    train = _read(known, copy.suffix, copy.train, cache)
    if copy.by_number and known.numbered is not None:
        train, held_out = _by_number(train, known.numbered)
    else:
        held_out = _read(known, copy.suffix, copy.held_out, cache)
    return Opened(train, held_out, notes)


def _by_number(rows: Rows, numbered: Numbered) -> tuple[Rows, Rows]:
    """The rows to train on and those held out of a file that holds both. Raises OtherColumns where it has no such column."""
    if numbered.column not in columns_of(rows):
        raise OtherColumns(f"its files name no split, and it has no column {numbered.column} to tell by")
    found = [_whole(rows[number], numbered.column) for number in range(len(rows))]
    parts = [
        [number for number, task in enumerate(found) if task in part] for part in (numbered.train, numbered.held_out)
    ]
    if not all(parts):
        raise OtherColumns(f"its files name no split, and not every split has a {numbered.column} in it")
    return Part(rows, parts[0]), Part(rows, parts[1])


def _whole(row: Any, column: str) -> int:
    """The whole number in a column; -1 where there is none."""
    number = number_of(row.get(column)) if isinstance(row, dict) else -1.0
    return int(number) if number.is_integer() else -1


def _read(known: KnownSet, suffix: str, files: Sequence[Path], cache: Path) -> Rows:
    """Raises OtherColumns, or one of `_errors` where the files are damaged."""
    return _checked(known, rows_of(suffix, files, cache)) if files else ()


def _fetched(known: KnownSet, cache: Path, notes: tuple[str, ...]) -> Opened:
    import datasets

    def split(name: str) -> Rows:
        rows: Rows = datasets.load_dataset(
            known.repository, known.configuration, split=name, revision=known.revision, cache_dir=str(cache)
        )
        return _checked(known, rows)

    return Opened(split(known.train[0]), split(known.held_out[0]) if known.held_out else (), notes)


def _checked(known: KnownSet, rows: Any) -> Rows:
    columns = columns_of(rows)
    if not any(columns.issuperset(wanted) for wanted in known.columns):
        raise OtherColumns(f"it has no columns {', nor '.join(' and '.join(wanted) for wanted in known.columns)}")
    checked: Rows = rows
    return checked


def _be_quiet() -> None:
    """No progress bars and no words of theirs in the kernel's log: what matters is raised."""
    import datasets

    datasets.disable_progress_bars()
    for library in ("datasets", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _errors() -> tuple[type[Exception], ...]:
    """What the library raises for files that it cannot read and for a hub that it cannot reach (its OSError)."""
    from datasets.exceptions import DatasetsError

    return (DatasetsError, OSError, ValueError)


def _missing(known: KnownSet, looked: Sequence[str], error: Exception) -> str:
    return (
        f"data: {known.name} is not there: {', '.join(looked) or 'no copy of it is mounted'}, and {known.repository} could "
        f"not be fetched from the Hugging Face hub ({_first_line(error)}): list a Kaggle dataset that holds it under "
        "inputs.datasets, or allow internet"
    )


def _unrecognised(known: KnownSet, inputs: Path) -> list[str]:
    """That there are files of which nothing tells what they hold; empty where there are none at all."""
    count = sum(1 for _ in data_files(inputs))
    named = f"call their folder {known.known_as[0]}, and the files as the hub does"
    return (
        [f"neither names nor rows of the {count} mounted data files tell that they are it ({named})"] if count else []
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
