"""Opens a data set's rows with the `datasets` library: a copy that Kaggle has mounted, or else the Hugging Face hub."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.data.copies import READERS, Copy, copies_of
from stages.data.sets import KnownSet
from stages.stage import StageFailed

MISSING = "data-missing"


class Rows(Protocol):
    """Rows by number; none is read before it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Any: ...


@dataclass(frozen=True)
class Opened:
    """A data set that can be read."""

    train: Rows
    held_out: Rows


class OtherColumns(ValueError):
    """These files bear the set's name and hold something else."""


def open_rows(known: KnownSet, inputs: Path, cache: Path) -> Opened:
    """The rows of the set, from a mounted copy where there is one, else from the hub; `cache` takes what reading needs.

    Raises StageFailed `data-missing` (transient: a mount or the network may be there next time) with where was looked. A
    copy that cannot be read is not replaced by the hub's rows: the user may have mounted others than those.
    """
    _be_quiet()
    looked: list[str] = []
    for copy in copies_of(known, inputs):
        place = copy.folder.relative_to(inputs).as_posix()
        try:
            return _opened(known, copy, cache)
        except OtherColumns as error:
            looked.append(f"the mounted {place} is another set ({error})")
        except _errors() as error:
            reason = f"data: the mounted copy of {known.name}, {place}, cannot be read ({_first_line(error)}): mount it again"
            raise StageFailed(MISSING, reason, transient=True) from error
    try:
        return _fetched(known, cache)
    except _errors() as error:
        raise StageFailed(MISSING, _missing(known, looked, error), transient=True) from error


def _opened(known: KnownSet, copy: Copy, cache: Path) -> Opened:
    return Opened(
        train=_read(known, copy.suffix, copy.train, cache), held_out=_read(known, copy.suffix, copy.held_out, cache)
    )


def _read(known: KnownSet, suffix: str, files: Sequence[Path], cache: Path) -> Rows:
    """Raises OtherColumns, or one of `_errors` where the files are damaged."""
    import datasets

    if not files:
        return ()
    names = [str(path) for path in files]
    rows: Rows = datasets.load_dataset(
        READERS[suffix], data_files={"rows": names}, split="rows", cache_dir=str(cache), keep_in_memory=False
    )
    return _checked(known, rows)


def _fetched(known: KnownSet, cache: Path) -> Opened:
    import datasets

    def split(name: str) -> Rows:
        rows: Rows = datasets.load_dataset(
            known.repository, known.configuration, split=name, revision=known.revision, cache_dir=str(cache)
        )
        return _checked(known, rows)

    return Opened(train=split(known.train[0]), held_out=split(known.held_out[0]) if known.held_out else ())


def _checked(known: KnownSet, rows: Any) -> Rows:
    columns = set(rows.column_names)
    if not any(columns.issuperset(wanted) for wanted in known.columns):
        raise OtherColumns(f"it has no columns {' and '.join(known.columns[0])}")
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


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
