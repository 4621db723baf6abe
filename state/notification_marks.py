"""What each of a person's services was told last, and what has happened since."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete

from state import schema
from state.damaged_rows import UNREADABLE
from state.engine import open_engine
from state.facts import Fact
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
"""The subject whose mark holds for every run that has none of its own."""


@dataclass(frozen=True)
class News:
    """A fact with its place in the log of all runs."""

    number: int
    run: str
    at: datetime
    fact: Fact


class NotificationMarks:
    """Marks in the store's database, which must be there. Losing them costs a message or repeats one, nothing else.

    Every call is one transaction and may raise StoreUnavailable. `subject` is a run's id, `trouble:` and a run's id, or ALL.
    """

    def __init__(self, home: Path) -> None:
        database = home / "relay.db"
        self._look, self._write = ReadOnlyDatabase(database), open_engine(database)

    def newest(self) -> int:
        """The number of the last fact; 0 where there is none."""
        with self._look.query() as query:
            return int(scalar(query(NEWEST), "newest") or 0)

    def news(self, after: int, names: Sequence[str]) -> list[News]:
        """Every run's facts of these names with a number above `after`, oldest first; without what cannot be read."""
        with self._look.query() as query:
            rows = query(NEWS, after=after, names=json.dumps(list(names)))
            return [news for row in rows if (news := _news(row)) is not None]

    def marks(self, service: str) -> dict[str, int]:
        """How far a service was told, by subject."""
        with self._look.query() as query:
            return {row["subject"]: row["mark"] for row in query(MARKS, service=service)}

    def advance(self, service: str, marks: Mapping[str, int], at: datetime) -> None:
        """Remember that a service was told so far."""
        with self._write.begin() as connection:
            for subject, mark in marks.items():
                row = {"service": service, "subject": subject, "mark": mark, "at": at}
                upsert(connection, schema.told, row, ["service", "subject"])

    def advance_all(self, service: str, mark: int, at: datetime) -> None:
        """Remember that a service was told all of every run so far; lower marks of single runs are dropped."""
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


def _news(row: Row) -> News | None:
    try:
        return News(row["id"], row["run"], moment(row["at"]), fact_in(row))
    except UNREADABLE:
        return None  # its run is set apart, and said to be so wherever it is loaded
