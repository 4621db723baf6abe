"""Read errors of a simulated disk: files of the home folder and queries of the database fail temporarily."""

import errno
import os
import random
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

QUESTIONS = ("snapshot", "stretches")
"""Store methods with which a tick reads before it writes anything."""
UNREAD_SHARE = 0.15
READS_MAX = 120
"""Largest index of a file whose reads may fail; most chains open more files than this."""


@dataclass(frozen=True)
class BadSector:
    """A file that fails `times` reads, chosen as the `first`-th file that the chain opens, counted from 0."""

    first: int
    times: int


@dataclass(frozen=True)
class ReadPlan:
    """All read errors drawn for one chain."""

    sectors: tuple[BadSector, ...] = ()
    questions: frozenset[int] = frozenset()
    """Indices (from 0) of the database queries that fail."""


NO_READ_FAULTS = ReadPlan()


def read_plan(seed: int) -> ReadPlan:
    """Draw the plan of a seed. It uses its own generator, so that the seed's other draws stay the same."""
    rng = random.Random(f"relay simulates {seed}: reads")
    if rng.random() >= UNREAD_SHARE:
        return NO_READ_FAULTS
    sectors = tuple(BadSector(rng.randint(0, READS_MAX), rng.choice((1, 2, 8))) for _ in range(rng.randint(1, 4)))
    questions: set[int] = set()
    for _ in range(rng.randint(0, 2)):
        first = rng.randint(0, 60)
        questions.update(range(first, first + rng.choice((1, 1, 5))))
    return ReadPlan(sectors, frozenset(questions))


class Sectors:
    """The currently unreadable files of one home folder, identified by inode: a file that replaces one is readable."""

    def __init__(self, plan: ReadPlan, home: Path, struck: Callable[[str], None]) -> None:
        self._waiting = {sector.first: sector.times for sector in plan.sectors}
        self._home, self._struck = f"{home}{os.sep}", struck
        self._bad: dict[int, int] = {}
        self._opened = 0

    def refuses(self, path: str) -> bool:
        """Return True if this attempt to open a file for reading fails."""
        if not path.startswith(self._home) or not os.path.isfile(path):  # noqa: PTH113  inside an audit hook no Path is made
            return False
        number, self._opened = self._opened, self._opened + 1
        inode = os.stat(path).st_ino  # noqa: PTH116
        self._bad[inode] = self._bad.get(inode, 0) + self._waiting.pop(number, 0)
        if not self._bad[inode]:
            return False
        self._bad[inode] -= 1
        self._struck("disk: a file could not be read")
        return True


# --- audit hook -----------------------------------------------------------------


@dataclass
class _Watch:
    """State of this process's audit hook. A hook cannot be removed once it is added."""

    added: bool = False
    refuses: Callable[[str], bool] | None = None
    database: bool = False
    """True while SQLite reads fail."""


_watch = _Watch()


@contextmanager
def unread(refuses: Callable[[str], bool] | None = None, *, database: bool = False) -> Iterator[None]:
    """Make file reads and folder listings fail with EIO inside the context, for each path that `refuses` selects.

    With `database`, connecting to SQLite fails as well.
    """
    if not _watch.added:
        sys.addaudithook(_audited)
        _watch.added = True
    _watch.refuses, _watch.database = refuses, database
    try:
        yield
    finally:
        _watch.refuses, _watch.database = None, False


def _audited(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and _watch.refuses is not None:
        path, flags = arguments[0], arguments[2] if event == "open" else os.O_RDONLY
        reads = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) == 0
        if reads and isinstance(path, (str, os.PathLike)) and _watch.refuses(str(path)):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
    elif event == "sqlite3.connect" and _watch.database:
        raise read_error()


def read_error() -> sqlite3.OperationalError:
    """Return the error that SQLite raises when its file cannot be read."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_READ, "SQLITE_IOERR_READ"
    return error
