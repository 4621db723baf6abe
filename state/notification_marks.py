"""Marks that record the last fact sent to each notification service, and the facts since."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from state.damaged_rows import UNREADABLE
from state.database import Database
from state.facts.base import LoggedFact
from state.queries import fact_in
from state.rows import to_columns
from state.sql import Query, Row, moment, scalar
from state.tables import upsert

NEWEST = "SELECT max(id) AS newest FROM fact"
NEWS = """
    SELECT * FROM fact WHERE id > :after AND name IN (SELECT value FROM json_each(:names)) ORDER BY id
"""
MARKS = "SELECT subject, mark FROM notification_mark WHERE service = :service"
FORGET_LOWER = (
    "DELETE FROM notification_mark WHERE service = :service AND mark <= :mark AND subject NOT LIKE 'trouble:%'"
)

ALL = ""
"""Subject whose mark applies to every run without a mark of its own."""


class NotificationMarks:
    """Marks in the store's database, which must exist. Losing them loses or repeats a message, nothing else.

    Every call is one transaction and may raise StoreUnavailable. A subject is a run's id, `trouble:` plus a run's id,
    or ALL.
    """

    def __init__(self, home: Path) -> None:
        database = home / "relay.db"
        self._reader, self._writer = Database.read_only(database), Database.writable(database)

    def newest(self) -> int:
        """Return the number of the newest fact; 0 if there is none."""
        with self._reader.transaction() as query:
            return int(scalar(query(NEWEST), "newest") or 0)

    def news(self, after: int, names: Sequence[str]) -> list[LoggedFact]:
        """Return all runs' facts with these names and a number above `after`, oldest first. Skips unreadable ones."""
        with self._reader.transaction() as query:
            rows = query(NEWS, after=after, names=json.dumps(list(names)))
            return [news for row in rows if (news := _parsed(row)) is not None]

    def marks(self, service: str) -> dict[str, int]:
        """Return the number of the last fact sent to a service, by subject."""
        with self._reader.transaction() as query:
            return {row["subject"]: row["mark"] for row in query(MARKS, service=service)}

    def advance(self, service: str, marks: Mapping[str, int], at: datetime) -> None:
        """Record the numbers of the last facts sent to a service."""
        with self._writer.transaction() as query:
            for subject, mark in marks.items():
                _write_mark(query, service, subject, mark, at)

    def advance_all(self, service: str, mark: int, at: datetime) -> None:
        """Record that a service received every run's facts up to `mark`; removes lower marks of single runs."""
        with self._writer.transaction() as query:
            query(FORGET_LOWER, service=service, mark=mark)
            _write_mark(query, service, ALL, mark, at)


def _write_mark(query: Query, service: str, subject: str, mark: int, at: datetime) -> None:
    row = to_columns({"service": service, "subject": subject, "mark": mark, "at": at})
    upsert(query, "notification_mark", row, ["service", "subject"])


def _parsed(row: Row) -> LoggedFact | None:
    try:
        return LoggedFact(number=row["id"], run=row["run"], at=moment(row["at"]), fact=fact_in(row))
    except UNREADABLE:
        return None  # the damaged run is reported wherever it is loaded
