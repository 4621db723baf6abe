"""Revision numbers of the database schema, which tell which relay version wrote a database."""

from pathlib import Path

from state.sql import Query, scalar

MIGRATIONS = Path(__file__).parent / "migrations"
NEWER = "the database was written by a newer relay: update relay, or name another folder with --home"

HAS_REVISION = "SELECT count(*) AS tables FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
REVISION = "SELECT version_num AS revision FROM alembic_version"


class SchemaError(Exception):
    """This relay cannot use the database's schema; the message is one sentence with the remedy."""


def newest_revision(migrations: Path = MIGRATIONS) -> str:
    """Return the revision that this code expects: that of the last migration."""
    return max(path.name for path in (migrations / "versions").glob("[0-9]*.py")).split("_")[0]


def revision_of(query: Query) -> str | None:
    """Return the revision of the database's schema; None if it has none yet."""
    if not scalar(query(HAS_REVISION), "tables"):
        return None
    found = scalar(query(REVISION), "revision")
    return None if found is None else str(found)
