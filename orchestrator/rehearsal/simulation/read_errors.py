"""What the disk does not give back in a simulated chain: files of a home folder, and answers of the database, for a while."""

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
"""What a turn asks of the store before it writes anything."""
UNREAD_SHARE = 0.15
READS_MAX = 120
"""Files are counted up to here: most chains open more of them."""


@dataclass(frozen=True)
class BadSector:
    """A file that cannot be read so many times, from when it is opened as the `first`-th one of the chain, counted from 0."""

    first: int
    times: int


@dataclass(frozen=True)
class ReadPlan:
    """Everything that is drawn for one chain's reading."""

    sectors: tuple[BadSector, ...] = ()
    questions: frozenset[int] = frozenset()
    """Which questions to the database, counted from 0, find no answer."""


NO_READ_FAULTS = ReadPlan()


def read_plan(seed: int) -> ReadPlan:
    """The plan of a seed. From a generator of its own, so that nothing else of the seed is drawn otherwise."""
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
    """The files of one home folder that cannot be read now. They are known by their inodes: a new file in the place of one can."""

    def __init__(self, plan: ReadPlan, home: Path, struck: Callable[[str], None]) -> None:
        self._waiting = {sector.first: sector.times for sector in plan.sectors}
        self._home, self._struck = f"{home}{os.sep}", struck
        self._bad: dict[int, int] = {}
        self._opened = 0

    def refuses(self, path: str) -> bool:
        """Whether this opening of a file to read it fails."""
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


# --- what Python opens ----------------------------------------------------------


@dataclass
class _Watch:
    """What the audit hook of this process asks at present. A hook that was added once stays."""

    added: bool = False
    refuses: Callable[[str], bool] | None = None
    database: bool = False
    """Whether SQLite reads nothing."""


_watch = _Watch()


@contextmanager
def unread(refuses: Callable[[str], bool] | None = None, *, database: bool = False) -> Iterator[None]:
    """Inside, opening a file to read it, or listing a folder, fails as on a bad disk where `refuses` says so of its path.

    `database`: SQLite reads nothing.
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
    """What SQLite says where its file cannot be read."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_READ, "SQLITE_IOERR_READ"
    return error
