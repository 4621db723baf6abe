"""Open a data set's rows with the `datasets` library, from a mounted copy or else from the Hugging Face hub."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.data.fields import number_of
from stages.data.files import Part, Rows, columns_of, rows_of
from stages.data.layouts import is_data
from stages.data.mounted import Brought, MountedFolder, Origin
from stages.data.mounted_datasets import Copy, copies_of
from stages.data.passed import MISSING, PassedBy, place_of, require_all, require_named, what_of
from stages.data.registry import KnownSet, Numbered
from stages.stage import StageFailed

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class OpenedDataset:
    """Rows of a data set, ready for reading."""

    train: Rows
    held_out: Rows
    origin: Origin
    place: str
    """Location of the mounted copy, or the hub's repository."""
    revision: str = ""
    """Commit fetched from the hub; empty for a mounted copy."""
    notes: tuple[str, ...] = ()
    """Messages for the user about the source of the rows: skipped copies, with the reasons."""


class OtherColumns(ValueError):
    """The files are named after the set but have other columns."""


def open_rows(
    known: KnownSet, folders: tuple[MountedFolder, ...], brought: Brought, cache: Path, revision: str = ""
) -> OpenedDataset:
    """Return the rows of the set from the best mounted copy, else from the hub at `revision`; `cache` is for scratch.

    Raises StageFailed `data-missing` (transient: a mount or the network may work next time) with the places searched,
    and `bad-data` if inputs listed in the pipeline have the set's name or columns but are not a usable copy. A copy
    that the pipeline lists, or that cannot be read, is never replaced by another one, which may have other rows.
    """
    _silence_libraries()
    require_named(known, folders, brought)
    passed = PassedBy(known)
    for copy in copies_of(known, folders):
        if not copy.origin.is_brought:
            passed.refuse_others()
            require_all(known, folders, brought)
        try:
            opened = read_copy(known, copy, passed, cache)
        except _errors() as error:
            where = f"the mounted copy of {known.name}, {place_of(copy)}"
            reason = f"data: {where}, cannot be read ({_first_line(error)}): mount it again"
            raise StageFailed(MISSING, reason, transient=True) from error
        if opened is not None:
            said = () if copy.named else (f"{what_of(copy)} is {known.name} by its columns, though not by its name",)
            return replace(opened, notes=(*passed.notes, *said))
    passed.refuse_others()
    require_all(known, folders, brought)
    try:
        return replace(_fetched(known, cache, revision), notes=tuple(passed.notes))
    except _errors() as error:
        missing = _missing_message(known, passed.looked or _unrecognised_message(known, folders), error)
        raise StageFailed(MISSING, missing, transient=True) from error


def read_copy(known: KnownSet, copy: Copy, passed: PassedBy, cache: Path) -> OpenedDataset | None:
    """Return the rows of a copy; None if it is unusable, which is recorded in `passed`. Text formats need no library.

    Raises StageFailed `bad-data` as `PassedBy.add` does, and ValueError, OSError or a library's error if files are
    damaged.
    """
    if copy.problem:
        passed.add(copy, f"cannot be used ({copy.problem})")
        return None
    try:
        train = _read(known, copy.suffix, copy.train, cache)
        if copy.by_number and known.numbered is not None:
            train, held_out = _by_number(train, known.numbered)
        else:
            held_out = _read(known, copy.suffix, copy.held_out, cache)
    except OtherColumns as error:
        passed.add(copy, f"is another set ({error})")
        return None
    return OpenedDataset(train, held_out, copy.origin, place_of(copy))


def _by_number(rows: Rows, numbered: Numbered) -> tuple[Rows, Rows]:
    """Split rows by the set's number column into (training, held out). Raises OtherColumns if it is missing."""
    if numbered.column not in columns_of(rows):
        raise OtherColumns(f"its files name no split, and it has no column {numbered.column} to tell by")
    found = [_integer_in(rows[number], numbered.column) for number in range(len(rows))]
    parts = [
        [number for number, task in enumerate(found) if task in part] for part in (numbered.train, numbered.held_out)
    ]
    if not all(parts):
        raise OtherColumns(f"its files name no split, and not every split has a {numbered.column} in it")
    return Part(rows, parts[0]), Part(rows, parts[1])


def _integer_in(row: Any, column: str) -> int:
    """Return the integer in a column; -1 if there is none."""
    number = number_of(row.get(column)) if isinstance(row, dict) else -1.0
    return int(number) if number.is_integer() else -1


def _read(known: KnownSet, suffix: str, files: Sequence[Path], cache: Path) -> Rows:
    """Read files of one format. Raises OtherColumns, or one of `_errors` if the files are damaged."""
    return _checked(known, rows_of(suffix, files, cache)) if files else ()


def _fetched(known: KnownSet, cache: Path, revision: str) -> OpenedDataset:
    import datasets

    commit = revision or (known.revision if COMMIT.fullmatch(known.revision) else _newest(known))

    def split(name: str) -> Rows:
        rows: Rows = datasets.load_dataset(
            known.repository, known.configuration, split=name, revision=commit, cache_dir=str(cache)
        )
        return _checked(known, rows)

    held_out = split(known.held_out[0]) if known.held_out else ()
    return OpenedDataset(split(known.train[0]), held_out, Origin.HUB, known.repository, commit)


def _newest(known: KnownSet) -> str:
    """Return the current commit of the repository's branch."""
    from huggingface_hub import HfApi

    found = HfApi().dataset_info(known.repository, revision=known.revision).sha
    if not found:
        raise OSError(f"the hub names no commit of {known.repository}")
    return found


def _checked(known: KnownSet, rows: Any) -> Rows:
    columns = columns_of(rows)
    if not any(columns.issuperset(wanted) for wanted in known.columns):
        raise OtherColumns(f"it has no columns {', nor '.join(' and '.join(wanted) for wanted in known.columns)}")
    if others := columns.intersection(known.unlike):
        raise OtherColumns(f"it has the column {' and '.join(sorted(others))}, which {known.name} does not have")
    checked: Rows = rows
    return checked


def _silence_libraries() -> None:
    """Silence the libraries' progress bars and log messages in the kernel's log. Errors are raised in any case."""
    import datasets

    datasets.disable_progress_bars()
    for library in ("datasets", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _errors() -> tuple[type[Exception], ...]:
    """Return the libraries' exceptions for unreadable files and for an unreachable hub (mostly OSError)."""
    from datasets.exceptions import DatasetsError
    from httpx import HTTPError

    return (DatasetsError, HTTPError, OSError, ValueError)


def _missing_message(known: KnownSet, looked: Sequence[str], error: Exception) -> str:
    return (
        f"data: {known.name} is not there: {', '.join(looked) or 'no copy of it is mounted'}, and {known.repository} could "
        f"not be fetched from the Hugging Face hub ({_first_line(error)}): list a Kaggle dataset that holds it under "
        "inputs.datasets, or allow internet"
    )


def _unrecognised_message(known: KnownSet, folders: tuple[MountedFolder, ...]) -> list[str]:
    """Return a message about mounted data files that were not recognised; empty if there are no data files."""
    count = sum(is_data(name) for folder in folders for name in folder.files)
    named = f"name their folder {known.known_as[0]}, and the files as on the hub"
    return (
        [f"none of the {count} mounted data files was recognised by its name or its columns ({named})"] if count else []
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
