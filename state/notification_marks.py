"""Marks that record the last fact sent to each notification service, and the facts since."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete

from state import schema
from state.damaged_rows import UNREADABLE
from state.engine import open_engine
from state.facts.base import Fact
from state.queries import fact_in
from state.read_only import ReadOnlyDatabase
from state.sql import Row, moment, scalar
from state.tables import upsert

NEWEST = "SELECT max(id) AS newest FROM fact"
NEWS = """
    SELECT * FROM fact WHERE id > :after AND name IN (SELECT value FROM json_each(:names)) ORDER BY id
"""
MARKS = "SELECT subject, mark FROM told WHERE service = :service"

ALL = ""
"""Subject whose mark applies to every run without a mark of its own."""


@dataclass(frozen=True)
class News:
    """A fact with its number in the log of all runs."""

    number: int
    run: str
    at: datetime
    fact: Fact


class NotificationMarks:
    """Marks in the store's database, which must exist. Losing them loses or repeats a message, nothing else.

    Every call is one transaction and may raise StoreUnavailable. A subject is a run's id, `trouble:` plus a run's id,
    or ALL.
    """

    def __init__(self, home: Path) -> None:
        database = home / "relay.db"
        self._reader, self._write = ReadOnlyDatabase(database), open_engine(database)

    def newest(self) -> int:
        """Return the number of the newest fact; 0 if there is none."""
        with self._reader.query() as query:
            return int(scalar(query(NEWEST), "newest") or 0)

    def news(self, after: int, names: Sequence[str]) -> list[News]:
        """Return all runs' facts with these names and a number above `after`, oldest first. Skips unreadable ones."""
        with self._reader.query() as query:
            rows = query(NEWS, after=after, names=json.dumps(list(names)))
            return [news for row in rows if (news := _parsed(row)) is not None]

    def marks(self, service: str) -> dict[str, int]:
        """Return the number of the last fact sent to a service, by subject."""
        with self._reader.query() as query:
            return {row["subject"]: row["mark"] for row in query(MARKS, service=service)}

    def advance(self, service: str, marks: Mapping[str, int], at: datetime) -> None:
        """Record the numbers of the last facts sent to a service."""
        with self._write.begin() as connection:
            for subject, mark in marks.items():
                row = {"service": service, "subject": subject, "mark": mark, "at": at}
                upsert(connection, schema.told, row, ["service", "subject"])

    def advance_all(self, service: str, mark: int, at: datetime) -> None:
        """Record that a service received every run's facts up to `mark`; removes lower marks of single runs."""
        table = schema.told
        single = table.c.subject.not_like("trouble:%")
        with self._write.begin() as connection:
            connection.execute(delete(table).where(table.c.service == service, table.c.mark <= mark, single))
            upsert(
                connection,
                table,
                {"service": service, "subject": ALL, "mark": mark, "at": at},
                ["service", "subject"],
            )


def _parsed(row: Row) -> News | None:
    try:
        return News(row["id"], row["run"], moment(row["at"]), fact_in(row))
    except UNREADABLE:
        return None  # the damaged run is reported wherever it is loaded
