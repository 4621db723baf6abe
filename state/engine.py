"""Open the database with the settings that durability needs, and bring its schema up to date."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import NullPool

MIGRATIONS = Path(__file__).parent / "migrations"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000")


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
    """Bring the schema to this relay's revision; raises SchemaError where the database is newer."""
    with engine.connect() as connection:
        if _revision(connection) == newest_revision():
            return
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
            raise SchemaError(
                "the database was written by a newer relay: update relay, or name another folder with --home"
            ) from error
        raise


def newest_revision() -> str:
    """The revision that this code was written for: the last migration's, which are numbered."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
