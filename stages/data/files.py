"""Read files of rows: Parquet and Arrow with the `datasets` library, text formats row by row without type inference.

The library rejects a whole JSON or CSV file if a column's type changes between rows. Here such rows are returned as
they are, and the set's adapter decides about them.
"""

import csv
import json
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

TEXT = (".jsonl", ".json", ".csv")
"""Formats read without a library."""

_LIBRARY = {".parquet": "parquet", ".arrow": "arrow"}


class Rows(Protocol):
    """Sequence of rows, each read on access."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Any: ...


class JsonLines:
    """Rows of JSON Lines files, read by their byte offsets; a line that is not valid JSON is None."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._files, self._places = array("H"), array("Q")
        for number, path in enumerate(paths):
            with path.open("rb") as file:
                place = 0
                for line in file:
                    if line.strip(b" \t\r\n\xef\xbb\xbf"):
                        self._files.append(number)
                        self._places.append(place)
                    place += len(line)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int, /) -> Any:
        with self._paths[self._files[number]].open("rb") as file:
            file.seek(self._places[number])
            return _json(file.readline())


class CsvRows:
    """Rows of CSV files; every field is text."""

    def __init__(self, paths: Sequence[Path]) -> None:
        csv.field_size_limit(sys.maxsize)
        self._rows: list[tuple[list[str], list[str]]] = []
        for path in paths:
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                lines = csv.reader(file)
                header = next(lines, [])
                self._rows.extend((header, line) for line in lines if line)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int, /) -> Any:
        header, line = self._rows[number]
        return dict(zip(header, line, strict=False))


class Part:
    """Subset of rows, given by their numbers."""

    def __init__(self, rows: Rows, numbers: Sequence[int]) -> None:
        self._rows, self._numbers = rows, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int, /) -> Any:
        return self._rows[self._numbers[number]]


def rows_of(suffix: str, files: Sequence[Path], cache: Path) -> Rows:
    """Return the rows of files of one format, in the order of the files; `cache` is the library's cache folder.

    Raises ValueError, OSError or an error of the library if the files are damaged.
    """
    if suffix == ".csv":
        try:
            return CsvRows(files)
        except csv.Error as error:
            raise ValueError(f"this is not CSV: {error}") from error
    if suffix == ".jsonl" or (suffix == ".json" and not any(_is_list(file) for file in files)):
        return JsonLines(files)
    if suffix == ".json":
        return [row for file in files for row in _rows_of_list(file)]
    import datasets

    rows: Rows = datasets.load_dataset(
        _LIBRARY[suffix], data_files={"rows": [str(file) for file in files]}, split="rows", cache_dir=str(cache)
    )
    return rows


def columns_of(rows: Rows) -> frozenset[str]:
    """Return the column names; for text formats those of the first row. Raises ValueError if that is not an object."""
    names = getattr(rows, "column_names", None)
    if names is not None or not len(rows):
        return frozenset(names or ())
    first = rows[0]
    if not isinstance(first, dict):
        raise ValueError("the first row is no JSON object")
    return frozenset(first)


def head_of(path: Path, count: int) -> list[Any]:
    """Return the first rows of a file, read without a cache; empty if the file cannot be read."""
    try:
        return list(islice(_rows_in(path), count))
    except (OSError, ValueError, csv.Error):  # pyarrow's errors derive from these
        return []


def _rows_in(path: Path) -> Iterator[Any]:
    match path.suffix.lower():
        case ".parquet":
            from pyarrow import parquet

            for batch in parquet.ParquetFile(path).iter_batches(batch_size=8):
                yield from batch.to_pylist()
        case ".arrow":
            import pyarrow

            with pyarrow.OSFile(str(path)) as file:  # stream format, as `datasets` saves it
                for batch in pyarrow.ipc.open_stream(file):
                    yield from batch.to_pylist()
        case ".csv":
            csv.field_size_limit(sys.maxsize)
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                yield from csv.DictReader(file)
        case ".json" if _is_list(path):
            yield from _rows_of_list(path)
        case ".jsonl" | ".json":
            with path.open("rb") as file:
                yield from (_json(line) for line in file)


def _json(line: bytes) -> Any:
    try:
        return json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return None


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"[")


def _rows_of_list(path: Path) -> list[Any]:
    """Return the rows of a JSON file that is one list. Raises ValueError."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if not isinstance(rows, list):
        raise ValueError("its JSON is no list of rows")
    return rows
