"""The only way into the SQLite file: a transaction in which plain SQL is run."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from state.failures import StoreUnavailable, translated
from state.sql import Query, Row, decode_leniently

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
"""SQLite settings of connections that write."""

LOCK_WAIT_S = 10.0
"""Longest wait for a lock before a write: longer than any transaction of relay, yet a waiting daemon heeds signals."""

READ_WAIT_S = 5.0
"""Longest wait for a lock before a read; in WAL mode only exclusive locks make a reader wait."""


@dataclass(frozen=True)
class Database:
    """An SQLite file that is opened for each transaction: threads share nothing, and no file handle outlives its use.

    Every call raises StoreUnavailable or StoreCorrupt, with the remedy, if SQLite reports an error about the file.
    """

    path: Path
    options: str
    """Parameters of SQLite's file URI, which say whether and how the file may be written."""
    wait_s: float

    @classmethod
    def writable(cls, path: Path) -> Self:
        """Open a database for reading and writing.

        A missing file is created here and never later: if it is removed afterwards, calls raise StoreGone. An empty
        replacement would look like a database without runs.
        """
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return cls(path, "mode=rw", LOCK_WAIT_S)

    @classmethod
    def read_only(cls, path: Path, wait_s: float = READ_WAIT_S) -> Self:
        """Open an existing database for reading: never waits for a writer, and works on read-only disks."""
        database = cls(path, "mode=ro", wait_s)
        try:
            with database.transaction():
                return database
        except StoreUnavailable:
            # SQLite needs to write its -shm file to read a WAL database. If the WAL is empty, "immutable" avoids that.
            log = path.with_name(f"{path.name}-wal")
            if log.exists() and log.stat().st_size:
                raise
            return cls(path, "mode=ro&immutable=1", wait_s)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Query]:
        """Open a transaction and yield the function that runs SQL in it; an exception inside the block rolls it back.

        All reads see the same moment. A writable database holds the write lock from the start, so that what was read
        is still true when something is written.
        """
        with self._translated_errors(), contextlib.closing(self.connected()) as connection:

            def run_sql(sql: str, /, **values: object) -> Iterator[Row]:
                rows: Iterator[Row] = connection.execute(sql, values)
                return rows

            try:
                self._begin(connection)
                yield run_sql
                connection.commit()
            finally:  # closing alone would leave the transaction open while a traceback holds a cursor
                connection.rollback()

    @contextlib.contextmanager
    def translating(self, query: Query) -> Iterator[Query]:
        """Yield the query function of an open transaction, with SQLite's errors translated as `transaction` does."""
        with self._translated_errors():
            yield query

    def _begin(self, connection: sqlite3.Connection) -> None:
        if self.options != "mode=rw":
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM sqlite_master")  # BEGIN alone does not read the file yet
            return
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN IMMEDIATE")

    def connected(self) -> sqlite3.Connection:
        """Return a new connection, which the caller closes. Raises what SQLite raises, not translated."""
        name = f"file:{quote(os.fsencode(self.path.absolute()))}?{self.options}"
        connection = sqlite3.connect(name, timeout=self.wait_s, uri=True, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.text_factory = decode_leniently
        return connection

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            translation = translated(error, self.path)
            if translation is None:
                raise
            raise translation from error
