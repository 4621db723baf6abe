"""What a question to the database is: SQL with named values, put through the store's transaction or by whoever only looks.

In plain SQL, so that a look at the database need not wait for SQLAlchemy: that takes longer to import than all else it does.
"""

import functools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

LENIENT = functools.partial(str, encoding="utf-8", errors="replace")
"""How SQLite's texts are read: one that a turned bit made undecodable differs from what was written, and is noticed as that."""


class Row(Protocol):
    """A line of an answer, by the names of its columns."""

    def __getitem__(self, name: str, /) -> Any: ...


class Query(Protocol):
    """Ask within one transaction: every answer is of the same moment."""

    def __call__(self, sql: str, /, **values: object) -> Iterator[Row]: ...


def scalar(rows: Iterator[Row], name: str) -> Any:
    """A column of the first line; None where there is no line."""
    row = next(rows, None)
    return None if row is None else row[name]


def stamp(at: datetime) -> str:
    """An aware time to hold a column against: SQLite, which keeps times as texts without their zone, sorts these right."""
    assert at.tzinfo is not None, "a naive time reached the database"
    return at.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")


def moment(column: str | datetime) -> datetime:
    """The time, in UTC, that a column holds: a text in SQLite, where another database has times of its own."""
    at = datetime.fromisoformat(column) if isinstance(column, str) else column
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def document(column: Any) -> Any:
    """What a column of JSON holds: a text in SQLite, where another database has JSON of its own."""
    return json.loads(column) if isinstance(column, str) else column
