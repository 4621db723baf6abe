"""Copy an SQLite database, and diagnose one: SQLite's integrity check, and each run's log compared with its rows."""

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from state.damaged_rows import UNREADABLE
from state.database import LOCK_WAIT_S, Database
from state.failures import RunDamaged, StoreCorrupt, StoreUnavailable, is_transient, shortened, translated, unread
from state.fold_check import checked
from state.model.metrics import Metric
from state.model.poll_state import PollState
from state.model.snapshot import QuotaRow
from state.queries import open_requests
from state.revisions import newest_revision, revision_of
from state.rows import from_row
from state.schema import expected_layouts, layout_of
from state.sql import Query, Row, moment, scalar, stamp

TRIES_MAX = 40
"""Number of retries, each about a quarter of a second, while another program locks the database."""

PROBLEMS_MAX = 5
INTEGRITY = f"PRAGMA integrity_check({PROBLEMS_MAX})"
NOT_READ = re.compile(r"error code=(\d+)")
"""Pattern of the SQLite error code in the integrity check's message about a page it could not read."""
RUN_NAMES = "SELECT id FROM run ORDER BY created_at, id"
ORPHANS = "SELECT DISTINCT run FROM fact WHERE run NOT IN (SELECT id FROM run) ORDER BY run"
OBSERVED: tuple[tuple[str, type], ...] = (("poll_state", PollState), ("quota", QuotaRow), ("metric", Metric))
"""Tables of observations, each with the type of its rows."""


@dataclass(frozen=True)
class Defect:
    """A defect of a database: something that relay never wrote."""

    run: str
    """Id of the affected run; empty if the whole database is affected."""
    says: str
    severe: bool = True
    """True if facts or rows are damaged; False if only observations are, which relay makes again."""


@dataclass(frozen=True)
class BackupEntry:
    """A fact as stored in the log, not parsed."""

    run: str
    at: str
    name: str
    data: str


def logged(database: Path) -> list[BackupEntry]:
    """Return the whole log of all runs, oldest first, not parsed. Raises StoreCorrupt or StoreUnavailable."""
    with Database.read_only(database).transaction() as query:
        rows = query("SELECT run, at, name, data FROM fact ORDER BY id")
        return [BackupEntry(str(row["run"]), str(row["at"]), str(row["name"]), str(row["data"])) for row in rows]


def copy_database(source: Path, target: Path) -> Path:
    """Copy a database, as it is now, into one file: atomically, checked by SQLite, readable by its owner only.

    Overwrites an existing copy. Raises StoreUnavailable if there is no disk space or another program locks the source,
    and StoreCorrupt if the source is damaged; in both cases no copy is left.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(_connected(source, "mode=ro")) as old, closing(_connected(part, "mode=rw")) as new:
            old.backup(new, progress=_RetryLimit())
            new.execute("PRAGMA journal_mode=DELETE")  # a single file, without -wal and -shm files
            found = list(_integrity_problems(new.execute(INTEGRITY), part))
        if found:
            raise StoreCorrupt(f"{source} is damaged ({shortened(found[0])}): relay doctor says what can be done")
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        part.unlink(missing_ok=True)
        raise (translated(error, source) or StoreUnavailable(f"{source} cannot be copied ({error})")) from error
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreUnavailable(f"{target} cannot be written ({error.strerror or error}): make room there") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return target


def supersede_lease(database: Path, fence: int, at: datetime) -> None:
    """Raise the fencing number and expire the lease: a daemon on this or the replaced database gets LeaseLost."""
    with Database.writable(database).transaction() as query:
        query("UPDATE lease SET fence = max(fence, :fence) + 1, expires_at = :at", fence=fence, at=stamp(at))


def defects(database: Path) -> list[Defect]:
    """Return all defects of a database. Runs are compared with their logs only if the schema is this relay's revision.

    Raises StoreUnavailable if the database cannot be read at the moment.
    """
    try:
        with Database.read_only(database).transaction() as query:
            found = [Defect("", problem) for problem in file_problems(query, database)]
            return [*found, *(run_defects(query) if revision_of(query) == newest_revision() else ())]
    except StoreCorrupt as error:
        return [Defect("", str(error))]


def file_problems(query: Query, database: Path) -> Iterator[str]:
    """Yield the damage that SQLite finds, and tables whose columns or keys differ from this relay's schema.

    The table definitions are stored as text and can be damaged like any other text. Raises StoreUnavailable if the disk
    fails to return the file's content, which is not damage.
    """
    for problem in _integrity_problems(query(INTEGRITY), database):
        yield f"SQLite finds it damaged: {shortened(problem)}"
    if revision_of(query) != newest_revision():
        return
    for table, expected in expected_layouts().items():
        if different := sorted(expected.symmetric_difference(layout_of(query, table))):
            yield f"the table {table} is not made as relay makes it ({shortened(' '.join(different[0]))})"


def _integrity_problems(rows: Iterable[Row], database: Path) -> Iterator[str]:
    """Yield the problems that SQLite's check found. Raises StoreUnavailable if the check could not read the file."""
    for row in rows:
        said = str(row["integrity_check"])
        if any(int(code) & 0xFF == sqlite3.SQLITE_IOERR for code in NOT_READ.findall(said)):
            raise StoreUnavailable(unread(database, said))
        if said != "ok":
            yield said


def run_defects(query: Query) -> Iterator[Defect]:
    """Yield the defects of each run and of the observations. SQLite errors about the machine propagate."""
    for row in query(RUN_NAMES):
        run = str(row["id"])
        try:
            checked(query, run, None)
            open_requests(query, run)
        except RunDamaged as error:
            yield Defect(run, error.why)
        except (sqlite3.DatabaseError, StoreCorrupt, UnicodeDecodeError) as error:
            if isinstance(error, sqlite3.Error) and is_transient(error):
                raise
            yield Defect(run, shortened(str(error)))
    for row in query(ORPHANS):
        yield Defect(str(row["run"]), "the log has facts of this run, but its row is missing")
    for table, kind in OBSERVED:
        if count := sum(_unreadable(kind, row) for row in query(f"SELECT * FROM {table}")):
            yield Defect("", f"{count} of the observations in {table} cannot be read and are ignored", severe=False)


def _unreadable(kind: type, row: Row) -> bool:
    try:
        from_row(kind, row)
    except UNREADABLE:
        return True
    return False


def newest_fact(database: Path) -> datetime | None:
    """Return the time of the newest fact in a database; None if it has no facts."""
    with Database.read_only(database).transaction() as query:
        found = scalar(query("SELECT at FROM fact ORDER BY id DESC LIMIT 1"), "at")
        return None if found is None else moment(found)


class _RetryLimit:
    """Progress callback that aborts a backup after TRIES_MAX retries on a locked database."""

    def __init__(self) -> None:
        self.tries = 0

    def __call__(self, status: int, remaining: int, total: int) -> None:
        self.tries += status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        if self.tries > TRIES_MAX:
            raise StoreUnavailable("another program holds the database: close that, then try again")


def _connected(database: Path, options: str) -> sqlite3.Connection:
    return Database(database, options, LOCK_WAIT_S).connected()
