"""A database of every earlier relay is brought forward without loss, and a copy of it is kept first."""

import sqlite3
from pathlib import Path

import pytest

from state.model import RunStatus
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


def test_there_is_a_database_of_every_earlier_revision() -> None:
    newest = int(newest_revision())
    assert [path.stem for path in DATABASES] == [f"{number:04d}" for number in range(1, newest)]


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
