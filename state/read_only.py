"""Store that only reads: for commands that show something, also while the database is locked or its disk read-only."""

import contextlib
from pathlib import Path

from state.database import Database
from state.reader import Reader
from state.revisions import SchemaError, newest_revision, revision_of
from state.sql import Query


class ReadOnlyStore(Reader):
    """Read-only store of the database in a home folder, which must exist."""

    _trusts_marks = True

    def __init__(self, home: Path) -> None:
        """Open the database. Raises SchemaError if its schema is older or newer than this relay's."""
        super().__init__()
        self._database = Database.read_only(home / "relay.db")
        with self._database.transaction() as query:
            if revision_of(query) != newest_revision():
                raise SchemaError("the database is of another version of relay")

    def _query(self) -> contextlib.AbstractContextManager[Query]:
        return self._database.transaction()

    def _database_to_read(self) -> Database:
        return self._database

    def close(self) -> None:
        """Do nothing: no connection is kept between calls."""
