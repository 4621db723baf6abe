"""Whole copies of a SQLite database, and what is wrong with one: SQLite's own check, and every run's log against its rows."""

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from state.damaged_rows import UNREADABLE
from state.failures import RunDamaged, StoreCorrupt, StoreUnavailable, in_words, is_passing, shortened, unread
from state.fold_check import checked
from state.model import Metric, PollState, QuotaRow
from state.queries import open_requests
from state.read_only import ReadOnlyDatabase
from state.revisions import newest_revision, revision_of
from state.rows import from_row
from state.sql import Query, Row, moment, scalar, stamp

TRIES_MAX = 40
"""Quarters of a second for which another program may hold the database."""

PROBLEMS_MAX = 5
INTEGRITY = f"PRAGMA integrity_check({PROBLEMS_MAX})"
NOT_READ = re.compile(r"error code=(\d+)")
"""How SQLite's check tells of a page that it could not get, with the reason as one of its codes."""
COLUMNS = "SELECT * FROM pragma_table_info(:table)"
KEYS = "SELECT * FROM pragma_foreign_key_list(:table)"
ROLL = "SELECT id FROM run ORDER BY created_at, id"
ORPHANS = "SELECT DISTINCT run FROM fact WHERE run NOT IN (SELECT id FROM run) ORDER BY run"
OBSERVED: tuple[tuple[str, type], ...] = (("watch", PollState), ("quota", QuotaRow), ("metric", Metric))
"""Tables of observations, and what their rows hold."""


@dataclass(frozen=True)
class Ailment:
    """Something in a database that relay never wrote."""

    run: str
    """The run that it concerns alone; empty where it is the whole database."""
    says: str
    severe: bool = True
    """Whether facts or rows are damaged; observations are made again."""


@dataclass(frozen=True)
class BackupEntry:
    """A fact as it is written in the log."""

    run: str
    at: str
    name: str
    data: str


def logged(database: Path) -> list[BackupEntry]:
    """The whole log of all runs, oldest first, unread. Raises StoreCorrupt or StoreUnavailable."""
    with ReadOnlyDatabase(database).query() as query:
        rows = query("SELECT run, at, name, data FROM fact ORDER BY id")
        return [BackupEntry(str(row["run"]), str(row["at"]), str(row["name"]), str(row["data"])) for row in rows]


def copied(source: Path, target: Path) -> Path:
    """Copy a database, as it is now, into one file: whole or absent, checked by SQLite, readable by its owner alone.

    A copy that is there is written over. Raises StoreUnavailable where there is no room or another program holds the source,
    and StoreCorrupt where the source is damaged; then there is no copy.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(_opened(source, "ro")) as old, closing(_opened(part, "rw")) as new:
            old.backup(new, progress=_Patience())
            new.row_factory = sqlite3.Row
            new.execute("PRAGMA journal_mode=DELETE")  # one file that needs no other beside it
            found = list(_damage(new.execute(INTEGRITY), part))
        if found:
            raise StoreCorrupt(f"{source} is damaged ({shortened(found[0])}): relay doctor says what can be done")
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        part.unlink(missing_ok=True)
        raise (in_words(error, source) or StoreUnavailable(f"{source} cannot be copied ({error})")) from error
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreUnavailable(f"{target} cannot be written ({error.strerror or error}): make room there") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return target


def hand_over(database: Path, fence: int, at: datetime) -> None:
    """Make whoever worked on the database, or on the one that it takes the place of, hear that the lease is another's now."""
    with closing(_opened(database, "rw")) as connection, connection:
        connection.execute("UPDATE lease SET fence = max(fence, ?) + 1, expires_at = ?", (fence, stamp(at)))


def ailments(database: Path) -> list[Ailment]:
    """Everything that is wrong with a database; a run of an older relay's is not held against its log.

    Raises StoreUnavailable where it cannot be read now.
    """
    try:
        with ReadOnlyDatabase(database).query() as query:
            found = [Ailment("", problem) for problem in file_problems(query, database)]
            return [*found, *(run_ailments(query) if revision_of(query) == newest_revision() else ())]
    except StoreCorrupt as error:
        return [Ailment("", str(error))]


def file_problems(query: Query, database: Path) -> Iterator[str]:
    """What SQLite finds damaged, and tables that are not made as this relay makes them: their making is a text like any other.

    Raises StoreUnavailable where the disk does not give the file back, which is no damage.
    """
    for problem in _damage(query(INTEGRITY), database):
        yield f"SQLite finds it damaged: {shortened(problem)}"
    if revision_of(query) != newest_revision():
        return
    from state.schema import layout  # a command that only looks need not wait for SQLAlchemy

    for table, expected in layout().items():
        if different := sorted(expected.symmetric_difference(_layout(query, table))):
            yield f"the table {table} is not made as relay makes it ({shortened(' '.join(different[0]))})"


def _damage(rows: Iterable[Row], database: Path) -> Iterator[str]:
    """What SQLite's check found wrong; raises StoreUnavailable where it could not read what it was to check."""
    for row in rows:
        said = str(row["integrity_check"])
        if any(int(code) & 0xFF == sqlite3.SQLITE_IOERR for code in NOT_READ.findall(said)):
            raise StoreUnavailable(unread(database, said))
        if said != "ok":
            yield said


def _layout(query: Query, table: str) -> frozenset[tuple[str, ...]]:
    columns = {
        ("column", str(row["name"]), str(row["type"]), str(row["notnull"])) for row in query(COLUMNS, table=table)
    }
    keys = {("key", str(row["from"]), str(row["table"]), str(row["to"])) for row in query(KEYS, table=table)}
    return frozenset(columns | keys)


def run_ailments(query: Query) -> Iterator[Ailment]:
    """What is wrong with each run, and with what was observed; SQLite's own errors that say nothing of the file pass on."""
    for row in query(ROLL):
        run = str(row["id"])
        try:
            checked(query, run, None)
            open_requests(query, run)
        except RunDamaged as error:
            yield Ailment(run, error.why)
        except (sqlite3.DatabaseError, StoreCorrupt, UnicodeDecodeError) as error:
            if isinstance(error, sqlite3.Error) and is_passing(error):
                raise
            yield Ailment(run, shortened(str(error)))
    for row in query(ORPHANS):
        yield Ailment(str(row["run"]), "the log has facts of it, and there is no run")
    for table, kind in OBSERVED:
        if count := sum(_unreadable(kind, row) for row in query(f"SELECT * FROM {table}")):
            yield Ailment(
                "", f"{count} of the observations in {table} cannot be read, and count as not made", severe=False
            )


def _unreadable(kind: type, row: Row) -> bool:
    try:
        from_row(kind, row)
    except UNREADABLE:
        return True
    return False


def newest_fact(database: Path) -> datetime | None:
    """When the last thing happened that a database knows of; None where nothing did."""
    with ReadOnlyDatabase(database).query() as query:
        found = scalar(query("SELECT at FROM fact ORDER BY id DESC LIMIT 1"), "at")
        return None if found is None else moment(found)


class _Patience:
    """Ends a copy of a database that another program does not let go of."""

    def __init__(self) -> None:
        self.tries = 0

    def __call__(self, status: int, remaining: int, total: int) -> None:
        self.tries += status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        if self.tries > TRIES_MAX:
            raise StoreUnavailable("another program holds the database: close that, then try again")


def _opened(database: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(database.absolute()))}?mode={mode}", uri=True)
