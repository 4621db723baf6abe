"""Read-only access to the database: never waits for a writer, works on read-only disks, and needs no SQLAlchemy."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from state.failures import StoreUnavailable, in_words
from state.reader import Reader
from state.revisions import SchemaError, newest_revision, revision_of
from state.sql import LENIENT, Query, Row


class ReadOnlyDatabase:
    """Opens a database for each query; no file handle outlives its use, and threads share nothing.

    Raises StoreUnavailable or StoreCorrupt, with the remedy, if SQLite reports an error about the file.
    """

    def __init__(self, database: Path) -> None:
        self.database = database
        self._options = "mode=ro"
        try:
            self._open().close()
        except StoreUnavailable:
            # SQLite needs to write its -shm file to read a WAL database. If the WAL is empty, "immutable" avoids that.
            log = database.with_name(f"{database.name}-wal")
            if log.exists() and log.stat().st_size:
                raise
            self._options = "mode=ro&immutable=1"

    @contextlib.contextmanager
    def query(self) -> Iterator[Query]:
        """Open a read transaction and yield its query function."""
        with contextlib.closing(self._open()) as connection, self._translated_errors():

            def ask(sql: str, /, **values: object) -> Iterator[Row]:
                rows: Iterator[Row] = connection.execute(sql, values)
                return rows

            connection.execute("BEGIN")  # one consistent snapshot, while other processes write
            yield ask

    def _open(self) -> sqlite3.Connection:
        with self._translated_errors():
            name = f"file:{quote(os.fsencode(self.database.absolute()))}?{self._options}"
            connection = sqlite3.connect(name, uri=True, isolation_level=None)
            try:
                connection.execute("SELECT 1 FROM sqlite_master")  # connect() does not read the file yet
            except BaseException:
                connection.close()
                raise
            connection.row_factory = sqlite3.Row
            connection.text_factory = LENIENT
            return connection

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            words = in_words(error, self.database)
            if words is None:
                raise
            raise words from error


class ReadOnlyStore(Reader):
    """Read-only store of the database in a home folder, which must exist."""

    def __init__(self, home: Path) -> None:
        """Open the database. Raises SchemaError if its schema is older or newer than this relay's."""
        super().__init__()
        self._database = ReadOnlyDatabase(home / "relay.db")
        with self._database.query() as query:
            if revision_of(query) != newest_revision():
                raise SchemaError("the database is of another version of relay")

    def _query(self) -> contextlib.AbstractContextManager[Query]:
        return self._database.query()

    def close(self) -> None:
        """Do nothing: no connection is kept between calls."""
