"""Why a database cannot be used, in words: who holds it, what is wrong with its file, and what to do."""

import os
import sqlite3
from pathlib import Path


class StoreUnavailable(Exception):
    """The database cannot be read or written now; the same call may work later, and this one changed nothing."""


class RunExists(Exception):
    """The database has a run of this id already."""


class StoreCorrupt(Exception):
    """The database holds what relay never wrote; only a person can mend that."""


class StoreGone(StoreCorrupt):
    """The database was removed under the program that uses it."""


class RunDamaged(StoreCorrupt):
    """What the database holds of one run is not what relay wrote; its other runs are not concerned."""

    def __init__(self, run: str, why: str) -> None:
        super().__init__(
            f"run {run} is damaged in relay's database ({why}): relay doctor {run} looks closer, relay restore brings back a "
            f"backup of the database, and relay adopt {run} makes the run again from what is on Kaggle"
        )
        self.run, self.why = run, why


def shortened(text: str, chars_max: int = 120) -> str:
    """A detail, such as one of SQLite's, that fits into a sentence and into one line."""
    line = " ".join(text.replace("*** in database main ***", "").split())
    return line if len(line) <= chars_max else f"{line[:chars_max]}…"


BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
STRANGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG)
"""What SQLite says of tables that are missing or made otherwise, and of values that relay would never have written."""
LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
READ_DETAILS = (
    "SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_FSTAT", "SQLITE_IOERR_MMAP", "SQLITE_IOERR_DATA",
    "SQLITE_IOERR_CORRUPTFS",
)  # fmt: skip
"""How a disk that does not give its bytes back shows itself. They may be whole, and come back with the disk."""
PASSING = (*LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM)
"""What SQLite says of the machine, and not of what is in the file."""
FULL_DETAILS = ("SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_TRUNCATE")
"""How a disk without room shows itself besides SQLITE_FULL."""


def in_words(error: BaseException | None, database: Path) -> Exception | None:
    """The error to raise for what SQLite said of this file; None for anything that is not the file's fault.

    The codes are SQLite's (https://www.sqlite.org/rescode.html); the low byte is the kind, the rest its detail.
    """
    if isinstance(error, UnicodeDecodeError):  # SQLite's own words, which quote what is damaged
        return StoreCorrupt(_unreadable(database, error))
    if not isinstance(error, sqlite3.Error):
        return None
    if getattr(error, "sqlite_errorcode", None) is None:
        undecoded = isinstance(error, sqlite3.OperationalError) and "decode" in str(error)
        return StoreCorrupt(_unreadable(database, error)) if undecoded else None
    kind = error.sqlite_errorcode & 0xFF
    if kind in LOCKED:
        who = holders(database) or "another program, such as a database browser or a backup"
        return StoreUnavailable(f"{database} is locked by {who}: close that, then try again")
    if kind in BROKEN:
        return StoreCorrupt(_unreadable(database, error))
    if kind in STRANGE:
        return StoreCorrupt(
            f"{database} does not hold the tables that relay made ({shortened(str(error))}): relay restore brings back a backup "
            "of it, and relay doctor says what else can be done"
        )
    return _of_the_disk(error, kind, database)


def _of_the_disk(error: sqlite3.Error, kind: int, database: Path) -> Exception | None:
    """The same of what the file lies on, and of the right to it."""
    if kind == sqlite3.SQLITE_CANTOPEN and _is_gone(database):
        return StoreGone(
            f"{database} was removed: relay restore brings back the newest backup, and relay adopt makes the runs again from "
            "what is on Kaggle"
        )
    if error.sqlite_errorname in READ_DETAILS:
        return StoreUnavailable(unread(database, str(error)))
    if kind == sqlite3.SQLITE_FULL or error.sqlite_errorname in FULL_DETAILS:
        return StoreUnavailable(f"the disk that holds {database} is full or fails ({error}): make room, then try again")
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
        return StoreUnavailable(
            f"{database} cannot be written ({error}): give relay the right to write that folder, or name another one with "
            "--home"
        )
    return None


def _is_gone(database: Path) -> bool:
    """Whether there is no such file; a disk that does not say is no reason to think so."""
    try:
        database.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def is_passing(error: sqlite3.Error) -> bool:
    """Whether SQLite could not look, so that nothing is known of what it was to look at."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in PASSING


def unread(database: Path, why: str) -> str:
    """The sentence for a disk that does not give back what it holds."""
    return (
        f"{database} cannot be read ({shortened(why)}): see to the disk that holds it, and try again; where it stays so, relay "
        "restore brings back a backup"
    )


def _unreadable(database: Path, error: Exception) -> str:
    return (
        f"{database} is not a database that can be read ({shortened(str(error))}): relay restore brings back a backup of it, and "
        "where there is none, move it away: then relay adopt makes its runs again from what is on Kaggle"
    )


def holders(database: Path) -> str:
    """The other processes that lock a database, as far as this system tells."""
    files = {_place(path) for path in (database, database.with_name(f"{database.name}-shm")) if path.exists()}
    try:
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    found = set()
    for line in locks:  # such as "1: POSIX  ADVISORY  WRITE 4711 00:1c:1234 120 120"
        words = line.split()
        if len(words) >= 6 and words[3] == "WRITE" and words[5] in files and words[4] != str(os.getpid()):
            found.add(words[4])
    return " and ".join(f"process {number}{_name(number)}" for number in sorted(found))


def _place(path: Path) -> str:
    about = path.stat()
    return f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"


def _name(number: str) -> str:
    try:
        return f" ({Path(f'/proc/{number}/comm').read_text(encoding='utf-8').strip()})"
    except OSError:
        return ""
