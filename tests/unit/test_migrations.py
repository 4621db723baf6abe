"""A database of every earlier relay is brought forward without loss, and a copy of it is kept first."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from state.model.statuses import RunStatus
from state.revisions import newest_revision
from state.store import Store

DATABASES = sorted((Path(__file__).parents[1] / "data" / "databases").glob("*.sql"))
"""One for each revision that was ever released, written by the relay of that time: runs in the middle of everything."""

OBSERVED = ("lease", "metric", "quota", "request", "watch")


def old_home(folder: Path, dump: Path) -> Path:
    """A home folder as the relay of that time left it."""
    folder.mkdir()
    with sqlite3.connect(folder / "relay.db") as database:
        database.executescript(dump.read_text(encoding="utf-8"))
    database.close()
    return folder


def rows(path: Path, table: str) -> list[dict[str, object]]:
    database = sqlite3.connect(path)
    database.row_factory = sqlite3.Row
    found = [dict(row) for row in database.execute(f'SELECT * FROM "{table}"')]
    database.close()
    return found


def schema_of(path: Path) -> dict[str, tuple[object, ...]]:
    """Columns, keys and indices of each table, in whatever order they were made."""
    with sqlite3.connect(path) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: tuple(_described(database, name)) for name in names}
    database.close()
    return found


def _described(database: sqlite3.Connection, table: str) -> Iterator[list[object]]:
    for pragma in ("table_info", "foreign_key_list"):
        yield sorted((row[1:] for row in database.execute(f"PRAGMA {pragma}('{table}')")), key=repr)
    for name, unique, origin, partial in sorted(row[1:5] for row in database.execute(f"PRAGMA index_list('{table}')")):
        columns = [row[1:] for row in database.execute(f"PRAGMA index_xinfo('{name}')")]
        sql = database.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        yield [name, unique, origin, partial, [column[1:] for column in columns], sql]


def test_there_is_a_database_of_every_earlier_revision() -> None:
    newest = int(newest_revision())
    assert [path.stem for path in DATABASES] == [f"{number:04d}" for number in range(1, newest)]


def test_a_new_database_has_the_tables_that_the_migrations_make(tmp_path: Path) -> None:
    dump = next(path for path in DATABASES if path.stem == "0001")
    migrated, made = old_home(tmp_path / "old", dump), tmp_path / "new"
    for home in (migrated, made):
        Store.at(home).close()
    assert schema_of(made / "relay.db") == schema_of(migrated / "relay.db")
    assert rows(made / "relay.db", "alembic_version") == [{"version_num": newest_revision()}]


@pytest.mark.parametrize("dump", DATABASES, ids=lambda path: path.stem)
def test_every_run_and_every_observation_comes_through(dump: Path, tmp_path: Path) -> None:
    home = old_home(tmp_path / "home", dump)
    before = {table: rows(home / "relay.db", table) for table in (*OBSERVED, "fact", "run", "session", "checkpoint")}
    store = Store.at(home)
    for run in store.runs():
        store.load(run.id)  # raises where facts and rows disagree
        store.snapshot(run.id)
    assert {run.status for run in store.runs()} == {RunStatus.FINISHED, RunStatus.PARKED, RunStatus.ACTIVE}
    for table, old in before.items():
        new = rows(home / "relay.db", table)
        assert [{key: row[key] for key in was} for row, was in zip(new, old, strict=True)] == old, table


@pytest.mark.parametrize("dump", DATABASES, ids=lambda path: path.stem)
def test_a_run_whose_clock_was_put_right_under_an_older_relay_comes_through(dump: Path, tmp_path: Path) -> None:
    """That relay left the end of the session a year ahead, in its log and in its rows."""
    home = old_home(tmp_path / "home", dump)
    database = sqlite3.connect(home / "relay.db")
    number, run, session = database.execute(
        "SELECT id, run, json_extract(data, '$.number') FROM fact WHERE name = 'seen_ended' ORDER BY id LIMIT 1"
    ).fetchone()
    ahead = "2031-12-24 00:00:00.000000"
    database.execute("UPDATE fact SET at = ? WHERE id = ?", (ahead, number))
    database.execute("UPDATE session SET ended_at = ? WHERE run = ? AND number = ?", (ahead, run, session))
    database.commit()
    database.close()
    state = Store.at(home).load(run)
    ended_at = state.session(session, 1).ended_at
    assert ended_at is not None and ended_at <= state.run.updated_at


@pytest.mark.parametrize("dump", DATABASES, ids=lambda path: path.stem)
def test_a_push_that_kaggle_declined_under_an_older_relay_is_known_to_have_been(dump: Path, tmp_path: Path) -> None:
    home = old_home(tmp_path / "home", dump)
    database = sqlite3.connect(home / "relay.db")
    for spread in ("-10 * id", "-id"):  # there is room between any two facts
        database.execute(f"UPDATE fact SET id = {spread}")
    number, run, at, data = database.execute(
        "SELECT id, run, at, data FROM fact WHERE name = 'push_intended' ORDER BY id LIMIT 1"
    ).fetchone()
    declined = json.dumps({**json.loads(data), "reason": "no slot"})
    facts = [(number + 1, run, at, "push_refused", declined), (number + 2, run, at, "push_intended", data)]
    database.executemany("INSERT INTO fact (id, run, at, name, data) VALUES (?, ?, ?, ?, ?)", facts)
    database.commit()
    database.close()
    first, *others = Store.at(home).load(run).sessions
    assert first.declined and not any(session.declined for session in others)


@pytest.mark.parametrize("dump", DATABASES, ids=lambda path: path.stem)
def test_a_copy_of_the_old_database_is_kept_and_only_its_owner_can_read_it(dump: Path, tmp_path: Path) -> None:
    home = old_home(tmp_path / "home", dump)
    facts = rows(home / "relay.db", "fact")
    Store.at(home).close()
    kept = home / f"relay.db.{dump.stem}.backup"
    assert rows(kept, "fact") == facts
    assert rows(kept, "alembic_version") == [{"version_num": dump.stem}]
    assert kept.stat().st_mode & 0o077 == 0


def test_a_copy_that_is_there_already_is_not_written_over(tmp_path: Path) -> None:
    home = old_home(tmp_path / "home", DATABASES[0])
    kept = home / f"relay.db.{DATABASES[0].stem}.backup"
    kept.write_bytes(b"dear")
    Store.at(home).close()
    assert kept.read_bytes() == b"dear"


def test_a_database_that_is_up_to_date_is_not_copied(tmp_path: Path) -> None:
    Store.at(tmp_path).close()
    Store.at(tmp_path).close()
    assert not list(tmp_path.glob("*.backup*"))
