"""The database, only to be read: it waits for no writer, serves where nothing can be written, and needs no SQLAlchemy."""

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
    """Opens a database for one question after the other; no file handle outlives its use, and threads share nothing.

    Raises StoreUnavailable or StoreCorrupt, with the remedy, where SQLite complains about the file.
    """

    def __init__(self, database: Path) -> None:
        self.database = database
        self._options = "mode=ro"
        try:
            self._open().close()
        except StoreUnavailable:
            # Without room or rights for its index of the log SQLite reads nothing; where the log is empty it needs none.
            log = database.with_name(f"{database.name}-wal")
            if log.exists() and log.stat().st_size:
                raise
            self._options = "mode=ro&immutable=1"

    @contextlib.contextmanager
    def query(self) -> Iterator[Query]:
        """Ask for as long as one transaction lasts."""
        with contextlib.closing(self._open()) as connection, self._said_in_words():

            def ask(sql: str, /, **values: object) -> Iterator[Row]:
                rows: Iterator[Row] = connection.execute(sql, values)
                return rows

            connection.execute("BEGIN")  # all that is read is of one moment, while others write
            yield ask

    def _open(self) -> sqlite3.Connection:
        with self._said_in_words():
            name = f"file:{quote(os.fsencode(self.database.absolute()))}?{self._options}"
            connection = sqlite3.connect(name, uri=True, isolation_level=None)
            try:
                connection.execute("SELECT 1 FROM sqlite_master")  # opening alone reads nothing
            except BaseException:
                connection.close()
                raise
            connection.row_factory = sqlite3.Row
            connection.text_factory = LENIENT
            return connection

    @contextlib.contextmanager
    def _said_in_words(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            words = in_words(error, self.database)
            if words is None:
                raise
            raise words from error


class ReadOnlyStore(Reader):
    """Whatever is asked of the database in a home folder, which must be there."""

    def __init__(self, home: Path) -> None:
        """Raises SchemaError where its tables are an older or a newer relay's."""
        super().__init__()
        self._database = ReadOnlyDatabase(home / "relay.db")
        with self._database.query() as query:
            if revision_of(query) != newest_revision():
                raise SchemaError("the database is of another version of relay")

    def _query(self) -> contextlib.AbstractContextManager[Query]:
        return self._database.query()

    def close(self) -> None:
        """Nothing is held between two calls."""
