"""Bring the schema of a database up to date: create its tables, or back it up and run the migrations it lacks."""

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from state.backups import copy_database
from state.database import Database
from state.failures import StoreUnavailable, translated
from state.revisions import MIGRATIONS, NEWER, SchemaError, newest_revision, revision_of
from state.schema import TABLE_NAMES, create_tables


def create(path: Path, migrations: Path = MIGRATIONS) -> None:
    """Create a database together with its tables, unless the file exists.

    The file gets its name only when it is complete: a reader never sees a database without tables. On a disk without
    hard links nothing is created here. Raises OSError, StoreUnavailable.
    """
    if path.exists():
        return
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", suffix=".new", dir=path.parent) as folder:
        database = Database.writable(Path(folder, path.name))
        try:
            # Without a write-ahead log, which is not renamed with the file and whose checkpoint may fail unnoticed.
            with contextlib.closing(database.connected()) as connection:
                connection.execute("BEGIN")
                create_tables(lambda sql, /, **values: connection.execute(sql, values), newest_revision(migrations))
                connection.commit()
        except sqlite3.Error as error:
            raise (translated(error, path) or error) from error
        with contextlib.suppress(OSError, NotImplementedError):  # another process was faster, or there are no links
            os.link(database.path, path)


def bring_up_to_date(database: Database, migrations: Path = MIGRATIONS) -> None:
    """Bring the schema to the newest revision in the folder of migrations.

    An empty database gets today's tables at once. An older one is copied first (see `backup`). Raises SchemaError if
    the database is newer, and StoreUnavailable if it cannot be copied; then nothing is changed.
    """
    newest = newest_revision(migrations)
    with database.transaction() as query:
        revision = revision_of(query)
        if revision == newest:
            return
        if next(query(TABLE_NAMES), None) is None:
            create_tables(query, newest)
            return
    if revision is not None:
        if revision > newest:
            raise SchemaError(NEWER)
        backup(database.path, revision)
    _run_migrations(database, migrations)


def backup(source: Path, revision: str) -> Path:
    """Copy a database, as it is now, to `<name>.<revision>.backup`; keep an existing copy of that revision.

    The copy is made atomically and is readable by its owner only. Raises StoreUnavailable if there is no disk space for
    it.
    """
    kept = source.with_name(f"{source.name}.{revision}.backup")
    if kept.exists():
        return kept
    try:
        copy_database(source, kept)
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"the database has to be upgraded, and the backup that is made first failed: {error}"
        ) from error
    return kept


def _run_migrations(database: Database, migrations: Path) -> None:
    """Run Alembic, in one transaction. It and SQLAlchemy are imported here because that takes half a second."""
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    engine = create_engine("sqlite://", creator=database.connected, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.attributes["engine"] = engine
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        cause = error.orig if isinstance(error.orig, sqlite3.Error) else None
        raise (translated(cause, database.path) or error) from error
    except CommandError as error:
        if "Can't locate revision" in str(error):
            raise SchemaError(NEWER) from error
        raise
    finally:
        engine.dispose()
