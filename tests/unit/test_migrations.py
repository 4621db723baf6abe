"""A database of an earlier relay is brought up to date without loss, and a copy of it is kept first."""

import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.app.settings import Settings
from orchestrator.app.workspace import Workspace
from orchestrator.base.errors import BadInput
from state.database import Database
from state.failures import StoreCorrupt, StoreUnavailable
from state.read_only import ReadOnlyStore
from state.revisions import MIGRATIONS, SchemaError, newest_revision
from state.store import Store
from state.upgrade import bring_up_to_date
from tests.unit.test_damaged_database import two_runs

LATER = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{revision}", "{before}", None, None


def upgrade() -> None:
    with op.batch_alter_table("run") as table:
        table.add_column(sa.Column("mood", sa.Text(), nullable=False, server_default="fine"))
    {then}
"""
ROOM_BYTES = 1 << 16
"""Enough for the files that SQLite makes for reading, and too little for a copy."""
TABLES = ("fact", "run", "session", "checkpoint", "metric", "request", "poll_state", "quota", "lease")


def migrations(folder: Path, *, then: str = "pass") -> Path:
    """The migrations of a later relay: ours and one more."""
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = newest_revision()
    revision = f"{int(before) + 1:04d}"
    text = LATER.format(revision=revision, before=before, then=then)
    (folder / "versions" / f"{revision}_moods.py").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder of this relay with two runs."""
    (home := tmp_path / "home").mkdir()
    two_runs(home)
    return home


def upgraded(home: Path, migrations: Path) -> None:
    bring_up_to_date(Database.writable(home / "relay.db"), migrations)


def rows(path: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(f'SELECT * FROM "{table}"')]


def revision_in(path: Path) -> str:
    return str(rows(path, "alembic_version")[0]["version_num"])


def schema_of(path: Path) -> dict[str, tuple[object, ...]]:
    """Columns, keys and indices of each table, in whatever order they were made."""
    with closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: tuple(_described(database, name)) for name in names}


def _described(database: sqlite3.Connection, table: str) -> Iterator[list[object]]:
    for pragma in ("table_info", "foreign_key_list"):
        yield sorted((row[1:] for row in database.execute(f"PRAGMA {pragma}('{table}')")), key=repr)
    for name, unique, origin, partial in sorted(row[1:5] for row in database.execute(f"PRAGMA index_list('{table}')")):
        columns = [row[1:] for row in database.execute(f"PRAGMA index_xinfo('{name}')")]
        sql = database.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        yield [name, unique, origin, partial, [column[1:] for column in columns], sql]


@pytest.mark.slow
def test_a_new_database_has_the_tables_that_the_migrations_make(tmp_path: Path) -> None:
    made, migrated = tmp_path / "made", tmp_path / "migrated"
    Store.at(made).close()
    migrated.mkdir()
    with closing(sqlite3.connect(migrated / "relay.db")) as database:  # not empty, and of no revision
        database.execute("CREATE TABLE stray (n)")
    Store.at(migrated).close()
    with closing(sqlite3.connect(migrated / "relay.db")) as database:
        database.execute("DROP TABLE stray")
    assert schema_of(made / "relay.db") == schema_of(migrated / "relay.db")
    assert revision_in(made / "relay.db") == revision_in(migrated / "relay.db") == newest_revision()


@pytest.mark.slow
def test_every_run_and_every_observation_comes_through_an_upgrade(home: Path, tmp_path: Path) -> None:
    before = {table: rows(home / "relay.db", table) for table in TABLES}
    assert len(before["run"]) == 2
    upgraded(home, migrations(tmp_path / "later"))
    for table, old in before.items():
        mood = {"mood": "fine"} if table == "run" else {}
        assert rows(home / "relay.db", table) == [{**row, **mood} for row in old], table
    assert revision_in(home / "relay.db") > newest_revision()


def test_a_copy_of_the_old_database_is_kept_and_only_its_owner_can_read_it(home: Path, tmp_path: Path) -> None:
    facts = rows(home / "relay.db", "fact")
    upgraded(home, migrations(tmp_path / "later"))
    kept = home / f"relay.db.{newest_revision()}.backup"
    assert rows(kept, "fact") == facts
    assert revision_in(kept) == newest_revision()
    assert kept.stat().st_mode & 0o077 == 0


def test_a_copy_that_is_there_already_is_not_written_over(home: Path, tmp_path: Path) -> None:
    kept = home / f"relay.db.{newest_revision()}.backup"
    kept.write_bytes(b"dear")
    upgraded(home, migrations(tmp_path / "later"))
    assert kept.read_bytes() == b"dear"


def test_a_database_that_cannot_be_copied_is_not_upgraded(home: Path, tmp_path: Path) -> None:
    later = migrations(tmp_path / "later")
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert (home / "relay.db").stat().st_size > ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
    try:
        with pytest.raises(StoreUnavailable, match="the backup that is made first failed"):
            upgraded(home, later)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert not list(home.glob("*.backup*"))
    assert revision_in(home / "relay.db") == newest_revision()


def test_a_migration_that_fails_leaves_the_database_as_it_was(home: Path, tmp_path: Path) -> None:
    before = schema_of(home / "relay.db")
    with pytest.raises(ZeroDivisionError):
        upgraded(home, migrations(tmp_path / "later", then="1 / 0"))
    assert schema_of(home / "relay.db") == before
    assert revision_in(home / "relay.db") == newest_revision()
    assert [run.id for run in Store.at(home).runs()] == ["r-0001", "r-0002"]


def test_what_sqlite_refuses_in_a_migration_is_said_with_the_remedy(home: Path, tmp_path: Path) -> None:
    later = migrations(tmp_path / "later", then="op.execute('INSERT INTO absent VALUES (1)')")
    with pytest.raises(StoreCorrupt, match=r"does not hold the tables that relay made \(no such table: absent\)"):
        upgraded(home, later)


def test_a_database_that_a_later_relay_upgraded_is_refused_with_one_sentence(home: Path, tmp_path: Path) -> None:
    upgraded(home, migrations(tmp_path / "later"))
    with pytest.raises(SchemaError, match="update relay"):
        Store.at(home)
    with pytest.raises(SchemaError):
        ReadOnlyStore(home)
    refused = "the database was written by a newer relay: update relay, or name another folder with --home"
    with pytest.raises(BadInput, match=rf"relay\.db: {refused}$"):
        Workspace(Settings(home, {})).reader.runs()
    assert [kept.name for kept in home.glob("*.backup")] == [f"relay.db.{newest_revision()}.backup"], "of the upgrade"


def test_a_database_that_is_up_to_date_is_not_copied(tmp_path: Path) -> None:
    Store.at(tmp_path).close()
    Store.at(tmp_path).close()
    assert not list(tmp_path.glob("*.backup*"))
