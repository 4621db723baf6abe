"""Query protocol: SQL with named parameters, run within the store's transaction or on a read-only connection.

Plain SQL, so that read-only commands need not import SQLAlchemy, which takes longer than the rest of such a command.
"""

import functools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

LENIENT = functools.partial(str, encoding="utf-8", errors="replace")
"""Text factory for SQLite. Undecodable bytes are replaced, so a flipped bit shows up as a digest mismatch."""


class Row(Protocol):
    """A result row, indexed by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


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
    return at.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")


def moment(column: str | datetime) -> datetime:
    """Parse a time column to an aware time in UTC: text in SQLite, a datetime in other databases."""
    at = datetime.fromisoformat(column) if isinstance(column, str) else column
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def document(column: Any) -> Any:
    """Parse a JSON column: text in SQLite, already parsed in other databases."""
    return json.loads(column) if isinstance(column, str) else column
