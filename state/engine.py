"""Open the database with the settings that durability needs, and bring its schema up to date."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import NullPool

MIGRATIONS = Path(__file__).parent / "migrations"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000")


NEWER = "the database was written by a newer relay: update relay, or name another folder with --home"


class SchemaError(Exception):
    """The database cannot be used by this relay; the message is one sentence with the remedy."""


def open_engine(url: str) -> Engine:
    """An engine whose transactions hold the write lock from their first statement, so a read-then-write is safe."""
    if not url.startswith("sqlite"):
        return create_engine(url, isolation_level="SERIALIZABLE")
    # A connection a transaction: nothing is shared between threads, and no file handle outlives its use.
    engine = create_engine(url, poolclass=NullPool)

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


def migrate(engine: Engine) -> None:
    """Bring the schema to this relay's revision, a copy of an older one kept beside it (see `backup`).

    Raises SchemaError where the database is newer.
    """
    with engine.connect() as connection:
        revision = _revision(connection)
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
    """
    if engine.dialect.name != "sqlite" or not engine.url.database or engine.url.database == ":memory:":
        return None
    source = Path(engine.url.database)
    kept, part = (source.with_name(f"{source.name}.{revision}.{end}") for end in ("backup", "backup.part"))
    if kept.exists():
        return kept
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(part)) as new:
        old.backup(new)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(kept)
    return kept


def newest_revision() -> str:
    """The revision that this code was written for: the last migration's, which are numbered."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
