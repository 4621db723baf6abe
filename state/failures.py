"""Error messages for an unusable database: which process locks it, what is wrong with the file, and the remedy."""

import os
import sqlite3
from pathlib import Path


class StoreUnavailable(Exception):
    """The database cannot be read or written at the moment. The call changed nothing and may be retried."""


class RunExists(Exception):
    """The database already has a run with this id."""


class StoreCorrupt(Exception):
    """The database holds data that relay never wrote. Only the user can repair that."""


class StoreGone(StoreCorrupt):
    """The database file was removed while relay was using it."""


class RunDamaged(StoreCorrupt):
    """The stored data of one run is not what relay wrote. Other runs are not affected."""

    def __init__(self, run: str, why: str) -> None:
        super().__init__(
            f"run {run} is damaged in relay's database ({why}): relay doctor {run} looks closer, relay restore brings back a "
            f"backup of the database, and relay adopt {run} makes the run again from what is on Kaggle"
        )
        self.run, self.why = run, why


def shortened(text: str, chars_max: int = 120) -> str:
    """Shorten a detail, such as an SQLite message, to a single line of at most `chars_max` characters."""
    line = " ".join(text.replace("*** in database main ***", "").split())
    return line if len(line) <= chars_max else f"{line[:chars_max]}…"


CORRUPT_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
FOREIGN_CODES = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG)
"""SQLite result codes for missing or different tables, and for values that relay never writes."""
LOCK_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
READ_DETAILS = (
    "SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_FSTAT", "SQLITE_IOERR_MMAP", "SQLITE_IOERR_DATA",
    "SQLITE_IOERR_CORRUPTFS",
)  # fmt: skip
"""SQLite extended codes of a failing disk read. The data may be intact and readable again once the disk works."""
TRANSIENT_CODES = (
    *LOCK_CODES,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
)
"""SQLite result codes about the machine (locks, disk space, memory), not about the content of the file."""
FULL_DETAILS = ("SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_TRUNCATE")
"""SQLite extended codes that, besides SQLITE_FULL, mean a full disk."""


def translated(error: BaseException | None, database: Path) -> Exception | None:
    """Return the error to raise for an SQLite error about this file; None if the file is not the cause.

    The codes are SQLite's (https://www.sqlite.org/rescode.html): the low byte is the primary code, the rest the detail.
    """
    if isinstance(error, UnicodeDecodeError):  # the SQLite message quotes damaged, undecodable data
        return StoreCorrupt(_unreadable_message(database, error))
    if not isinstance(error, sqlite3.Error):
        return None
    if getattr(error, "sqlite_errorcode", None) is None:
        undecoded = isinstance(error, sqlite3.OperationalError) and "decode" in str(error)
        return StoreCorrupt(_unreadable_message(database, error)) if undecoded else None
    kind = error.sqlite_errorcode & 0xFF
    if kind in LOCK_CODES:
        who = holders(database) or "another program, such as a database browser or a backup"
        return StoreUnavailable(f"{database} is locked by {who}: close that, then try again")
    if kind in CORRUPT_CODES:
        return StoreCorrupt(_unreadable_message(database, error))
    if kind in FOREIGN_CODES:
        return StoreCorrupt(
            f"{database} does not hold the tables that relay made ({shortened(str(error))}): relay restore brings back a backup "
            "of it, and relay doctor says what else can be done"
        )
    return _storage_error(error, kind, database)


def _storage_error(error: sqlite3.Error, kind: int, database: Path) -> Exception | None:
    """Return the error to raise for a missing file, a full or failing disk, or missing permissions."""
    if kind == sqlite3.SQLITE_CANTOPEN and _is_missing(database):
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


def _is_missing(database: Path) -> bool:
    """Return True if the file does not exist; False if the disk cannot tell."""
    try:
        database.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def is_transient(error: sqlite3.Error) -> bool:
    """Return True if SQLite could not read the file, so that its content remains unknown."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in TRANSIENT_CODES


def unread(database: Path, why: str) -> str:
    """Return the message for a disk that fails to return the file's content."""
    return (
        f"{database} cannot be read ({shortened(why)}): check the disk that holds it, and try again; where it stays so, relay "
        "restore brings back a backup"
    )


def _unreadable_message(database: Path, error: Exception) -> str:
    return (
        f"{database} is not a database that can be read ({shortened(str(error))}): relay restore brings back a backup of it, and "
        "where there is none, move it away: then relay adopt makes its runs again from what is on Kaggle"
    )


def holders(database: Path) -> str:
    """Return the other processes that lock the database, from /proc/locks; empty if unknown."""
    try:
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    files = {_lock_key(path) for path in (database, database.with_name(f"{database.name}-shm")) if path.exists()}
    found = set()
    for line in locks:  # for example "1: POSIX  ADVISORY  WRITE 4711 00:1c:1234 120 120"
        words = line.split()
        if len(words) >= 6 and words[3] == "WRITE" and words[5] in files and words[4] != str(os.getpid()):
            found.add(words[4])
    return " and ".join(f"process {number}{_process_name(number)}" for number in sorted(found))


def _lock_key(path: Path) -> str:
    about = path.stat()
    return f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"


def _process_name(number: str) -> str:
    try:
        return f" ({Path(f'/proc/{number}/comm').read_text(encoding='utf-8').strip()})"
    except OSError:
        return ""


class IllegalTransition(Exception):
    """The current phase or status of a run or session does not allow this fact."""
