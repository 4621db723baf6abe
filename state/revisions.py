"""Which relay wrote a database: the revisions of its schema, which are numbered."""

from pathlib import Path

from state.sql import Query, scalar

MIGRATIONS = Path(__file__).parent / "migrations"
NEWER = "the database was written by a newer relay: update relay, or name another folder with --home"

HAS_REVISION = "SELECT count(*) AS tables FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
REVISION = "SELECT version_num AS revision FROM alembic_version"


class SchemaError(Exception):
    """The database cannot be used by this relay; the message is one sentence with the remedy."""


def newest_revision() -> str:
    """The revision that this code was written for: the last migration's."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def revision_of(query: Query) -> str | None:
    """The revision of the database's schema; None where it has none yet."""
    if not scalar(query(HAS_REVISION), "tables"):
        return None
    found = scalar(query(REVISION), "revision")
    return None if found is None else str(found)
