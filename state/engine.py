"""Open the database with the settings that durability needs, and bring its schema up to date."""

import contextlib
import functools
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    ExceptionContext,
    MetaData,
    String,
    Table,
    TextClause,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.pool import NullPool

from state.backups import copied
from state.failures import StoreUnavailable, in_words
from state.revisions import MIGRATIONS, NEWER, REVISION, SchemaError, newest_revision
from state.schema import metadata
from state.sql import LENIENT, Query, Row, scalar

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000")
"""SQLite settings. The timeout exceeds any transaction of relay, yet a waiting daemon still heeds signals in time."""

VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Alembic's version table, defined exactly as Alembic creates it."""


def open_engine(database: Path | str) -> Engine:
    """Return an engine whose transactions hold the write lock from their first statement, so a read-then-write is safe.

    `database` is an SQLite file or the URL of another database, whose transactions are serializable. A missing file is
    created here and never later: if it is removed afterwards, calls raise StoreGone. An empty replacement would look
    like a database without runs.
    """
    if isinstance(database, str):
        return create_engine(database, isolation_level="SERIALIZABLE")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    name = f"file:{quote(str(database.absolute()))}?mode=rw"
    # One connection per transaction: threads share nothing, and no file handle outlives its use.
    engine = create_engine(
        URL.create("sqlite", database=str(database)),
        poolclass=NullPool,
        creator=lambda: sqlite3.connect(name, uri=True, check_same_thread=False),
    )
    _translate_errors(engine, database)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        # None leaves BEGIN to the listener below. "IMMEDIATE" here would leave a SELECT outside the transaction.
        connection.isolation_level = None
        connection.text_factory = LENIENT
        try:
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except UnicodeDecodeError as error:
            raise in_words(error, database) or error from error

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def asking(connection: Connection) -> Query:
    """Return a query function that runs within the connection's transaction."""

    def ask(sql: str, /, **values: object) -> Iterator[Row]:
        return iter(connection.execute(_text(sql), values).mappings())

    return ask


@functools.lru_cache(maxsize=256)
def _text(sql: str) -> TextClause:
    return text(sql)


def _translate_errors(engine: Engine, database: Path) -> None:
    """Translate SQLite errors about the file into StoreUnavailable or StoreCorrupt, with the remedy."""

    @event.listens_for(engine, "handle_error")
    def translate(context: ExceptionContext) -> None:
        words = in_words(context.original_exception, database)
        if words is not None:
            raise words from context.original_exception


def migrate(engine: Engine) -> bool:
    """Upgrade the schema to this relay's revision. Return True if it was older.

    Copies an older file first (see `backup`). Raises SchemaError if the database is newer.
    """
    if _created_if_empty(engine):
        return False
    revision = _revision(engine)
    if revision == newest_revision():
        return False
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
    return revision is not None


def _created_if_empty(engine: Engine) -> bool:
    """Create the current tables in an empty database. Return True if it was empty.

    The migrations would create the same tables revision by revision, but importing Alembic takes half a second.
    """
    with engine.begin() as connection:
        if inspect(connection).get_table_names():
            return False
        metadata.create_all(connection, checkfirst=False)
        VERSION.create(connection)
        connection.execute(VERSION.insert().values(version_num=newest_revision()))
    return True


def backup(engine: Engine, revision: str) -> Path | None:
    """Copy an SQLite file, as it is now, to `<name>.<revision>.backup`; keep an existing copy of that revision.

    The copy is made atomically and is readable by its owner only. Returns None if the database is not a file: servers
    have backups of their own. Raises StoreUnavailable if there is no disk space for it.
    """
    if engine.dialect.name != "sqlite":
        return None
    source = Path(str(engine.url.database))
    kept = source.with_name(f"{source.name}.{revision}.backup")
    if kept.exists():
        return kept
    try:
        copied(source, kept)
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"the database has to be upgraded, and the backup that is made first failed: {error}"
        ) from error
    return kept


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return None if (found := scalar(asking(connection)(REVISION), "revision")) is None else str(found)
