"""Opens a data set's rows with the `datasets` library: a copy that is mounted, or else the Hugging Face hub."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.data.copies import READERS, Copy, bears_name, copies_of, names_split
from stages.data.mounted import Brought, MountedFolder, Origin, not_mounted
from stages.data.sets import KnownSet
from stages.stage import StageFailed

MISSING = "data-missing"

COMMIT = re.compile(r"[0-9a-f]{40}")


class Rows(Protocol):
    """Rows by number; none is read before it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Any: ...


@dataclass(frozen=True)
class Opened:
    """A data set that can be read."""

    train: Rows
    held_out: Rows
    origin: Origin
    place: str
    """What the copy is called where it is mounted, or the hub's repository."""
    revision: str = ""
    """The commit that was fetched from the hub."""


class OtherColumns(ValueError):
    """These files bear the set's name and hold something else."""


def open_rows(
    known: KnownSet, folders: tuple[MountedFolder, ...], brought: Brought, cache: Path, revision: str = ""
) -> Opened:
    """The rows of the set, from the best mounted copy, else from the hub at `revision`; `cache` takes what reading needs.

    Raises StageFailed `data-missing` (transient: a mount or the network may be there next time) with where was looked, and
    `bad-data` for files of `inputs.files` that are called after the set and are no copy of it. A copy that the pipeline
    names, or that cannot be read, is not replaced by another: those may be other rows.
    """
    _be_quiet()
    _require_brought(known, folders, brought)
    looked: list[str] = []
    for copy in copies_of(known, folders):
        place = "inputs.files" if copy.origin is Origin.FILES else copy.place
        try:
            return _opened(known, copy, place, cache)
        except OtherColumns as error:
            if copy.origin is Origin.FILES:
                raise StageFailed("bad-data", _unlike(known, copy, error)) from error
            looked.append(f"the mounted {place} is another set ({error})")
        except _errors() as error:
            reason = f"data: the mounted copy of {known.name}, {place}, cannot be read ({_first_line(error)}): mount it again"
            raise StageFailed(MISSING, reason, transient=True) from error
    try:
        return _fetched(known, cache, revision)
    except _errors() as error:
        raise StageFailed(MISSING, _missing(known, looked, error), transient=True) from error


def _require_brought(known: KnownSet, folders: tuple[MountedFolder, ...], brought: Brought) -> None:
    """Refuse to go on without what the pipeline names and this session lacks, or with half of a set."""
    absent = not_mounted(brought, folders)
    if lacking := [name for name in absent if bears_name(known, name) and ("/" in name or names_split(known, name))]:
        raise StageFailed(
            MISSING,
            f"data: {', '.join(lacking)} of the pipeline's inputs, for {known.name}, is not mounted",
            transient=True,
        )
    halves = [name for name in brought.files if names_split(known, name)]
    if halves and not any(copy.origin is Origin.FILES for copy in copies_of(known, folders)):
        splits = " and ".join(split for split in (known.train[0], *known.held_out[:1]))
        raise StageFailed(
            "bad-data",
            f"data: inputs.files has {', '.join(halves)} for {known.name}, which needs files of the splits {splits} in one "
            "format: add the other split, or give the file another name",
        )


def _opened(known: KnownSet, copy: Copy, place: str, cache: Path) -> Opened:
    train, held_out = (_read(known, copy.suffix, files, cache) for files in (copy.train, copy.held_out))
    return Opened(train, held_out, copy.origin, place)


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


def _fetched(known: KnownSet, cache: Path, revision: str) -> Opened:
    import datasets

    commit = revision or (known.revision if COMMIT.fullmatch(known.revision) else _newest(known))

    def split(name: str) -> Rows:
        rows: Rows = datasets.load_dataset(
            known.repository, known.configuration, split=name, revision=commit, cache_dir=str(cache)
        )
        return _checked(known, rows)

    held_out = split(known.held_out[0]) if known.held_out else ()
    return Opened(split(known.train[0]), held_out, Origin.HUB, known.repository, commit)


def _newest(known: KnownSet) -> str:
    """The commit that a branch of the repository is at now."""
    from huggingface_hub import HfApi

    found = HfApi().dataset_info(known.repository, revision=known.revision).sha
    if not found:
        raise OSError(f"the hub names no commit of {known.repository}")
    return found


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
    """What the libraries raise for files that they cannot read and for a hub that they cannot reach (mostly its OSError)."""
    from datasets.exceptions import DatasetsError
    from httpx import HTTPError

    return (DatasetsError, HTTPError, OSError, ValueError)


def _unlike(known: KnownSet, copy: Copy, error: OtherColumns) -> str:
    names = ", ".join(path.name for path in (*copy.train, *copy.held_out))
    return f"data: {names} of inputs.files is called after {known.name} and {error}: mend it, or give it another name"


def _missing(known: KnownSet, looked: Sequence[str], error: Exception) -> str:
    return (
        f"data: {known.name} is not there: {', '.join(looked) or 'no copy of it is mounted'}, and {known.repository} could "
        f"not be fetched from the Hugging Face hub ({_first_line(error)}): list a Kaggle dataset that holds it under "
        "inputs.datasets, or allow internet"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
