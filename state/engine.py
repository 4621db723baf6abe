"""Open the database with the settings that durability needs, and bring its schema up to date."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, inspect, text
from sqlalchemy.pool import NullPool

from state.failures import StoreUnavailable, in_words

MIGRATIONS = Path(__file__).parent / "migrations"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000")
"""Ten seconds are more than any transaction of ours takes, and a daemon that waits for so long still heeds a signal."""


NEWER = "the database was written by a newer relay: update relay, or name another folder with --home"


class SchemaError(Exception):
    """The database cannot be used by this relay; the message is one sentence with the remedy."""


def open_engine(url: str) -> Engine:
    """An engine whose transactions hold the write lock from their first statement, so a read-then-write is safe."""
    if not url.startswith("sqlite"):
        return create_engine(url, isolation_level="SERIALIZABLE")
    # A connection a transaction: nothing is shared between threads, and no file handle outlives its use.
    engine = create_engine(url, poolclass=NullPool)
    _say_in_words(engine)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        # None hands BEGIN to us. "IMMEDIATE" here would leave a SELECT outside the transaction.
        connection.isolation_level = None
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def open_to_look(database: Path) -> Engine:
    """An engine that only reads: it waits for no writer, and serves where nothing can be written."""
    engine = _reading(database)
    try:
        with engine.connect():
            return engine
    except StoreUnavailable:
        # Without room or rights for its index of the log SQLite reads nothing; where the log is empty it needs none.
        log = database.with_name(f"{database.name}-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _reading(database, immutable="1")


def _reading(database: Path, **options: str) -> Engine:
    query = {"uri": "true", "mode": "ro", **options}
    url = URL.create("sqlite", database=f"file:{quote(str(database.absolute()))}", query=query)
    engine = create_engine(url, poolclass=NullPool)
    _say_in_words(engine)

    @event.listens_for(engine, "connect")
    def look(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("SELECT 1 FROM sqlite_master")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")  # all that is read is of one moment, while others write

    return engine


def _say_in_words(engine: Engine) -> None:
    """SQLite's complaints about its file come out as StoreUnavailable or StoreCorrupt, with the remedy."""

    @event.listens_for(engine, "handle_error")
    def translate(context: ExceptionContext) -> None:
        name = engine.url.database or ""
        database = Path(unquote(name.removeprefix("file:")) if name.startswith("file:") else name)
        words = in_words(context.original_exception, database)
        if words is not None:
            raise words from context.original_exception


def migrate(engine: Engine) -> None:
    """Bring the schema to this relay's revision, a copy of an older one kept beside it (see `backup`).

    Raises SchemaError where the database is newer.
    """
    revision = revision_of(engine)
    if revision == newest_revision():
        return
    if revision is not None and revision > newest_revision():
        raise SchemaError(NEWER)
    if revision is not None:
        backup(engine, revision)
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = engine
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        if "Can't locate revision" in str(error):
            raise SchemaError(NEWER) from error
        raise


def backup(engine: Engine, revision: str) -> Path | None:
    """Copy a SQLite file, as it is now, to `<name>.<revision>.backup`; a copy of that revision that is there stays.

    Whole or absent, and readable by its owner alone. None where the database is no file: a server has backups of its own.
    Raises StoreUnavailable where there is no room for it.
    """
    if engine.dialect.name != "sqlite" or not engine.url.database or engine.url.database == ":memory:":
        return None
    source = Path(engine.url.database)
    kept, part = (source.with_name(f"{source.name}.{revision}.{end}") for end in ("backup", "backup.part"))
    if kept.exists():
        return kept
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(part)) as new:
            old.backup(new)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(kept)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(
            f"the database has to be brought up to date, and {kept} cannot be written first ({error}): make room there"
        ) from error
    return kept


def is_current(engine: Engine) -> bool:
    """Whether the schema is the one that this code was written for."""
    return revision_of(engine) == newest_revision()


def newest_revision() -> str:
    """The revision that this code was written for: the last migration's, which are numbered."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def revision_of(engine: Engine) -> str | None:
    """The revision of the database's schema; None where it has none yet."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)
