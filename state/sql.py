"""Types of a query and its rows, and the form in which SQLite stores times and documents.

relay's queries are plain SQL with named parameters: importing SQLAlchemy takes longer than the rest of a command that
only reads, so only upgrades of the schema use it.
"""

import functools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

decode_leniently = functools.partial(str, encoding="utf-8", errors="replace")
"""Text factory for SQLite. Undecodable bytes are replaced, so a flipped bit shows up as a digest mismatch."""


class Row(Protocol):
    """A result row, indexed by column name."""

    def __getitem__(self, name: str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class Query(Protocol):
    """Function that runs SQL within one transaction: all results are from the same snapshot."""

    def __call__(self, sql: str, /, **values: object) -> Iterator[Row]: ...


def scalar(rows: Iterator[Row], name: str) -> Any:
    """Return a column of the first row; None if there is no row."""
    row = next(rows, None)
    return None if row is None else row[name]


def stamp(at: datetime) -> str:
    """Format an aware time as SQLite stores it (text, UTC, no zone), so that comparisons with a column are correct."""
    assert at.tzinfo is not None, "a naive time reached the database"
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def moment(column: str) -> datetime:
    """Parse a time column to an aware time in UTC."""
    at = datetime.fromisoformat(column)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def document(column: str | None) -> Any:
    """Parse a JSON column; None where it is empty."""
    return None if column is None else json.loads(column)
