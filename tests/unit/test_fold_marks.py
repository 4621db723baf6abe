"""A reader that finds every byte of log and rows as the store verified them does not fold; any other byte makes it fold."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from state.backups import defects
from state.facts.run import RunParked
from state.facts.session import PushIntended
from state.failures import RunDamaged
from state.fold_marks import rows_digest
from state.queries import stored_rows
from state.read_only import ReadOnlyStore
from state.store import Store
from tests.unit.test_damaged_database import two_runs
from tests.unit.test_machine import AT


@pytest.fixture
def home(tmp_path: Path) -> Path:
    two_runs(tmp_path)
    return tmp_path


def change(home: Path, *statements: str) -> None:
    with closing(sqlite3.connect(home / "relay.db")) as database:
        for sql in statements:
            assert database.execute(sql).rowcount > 0, sql
        database.commit()


def mark_again(home: Path) -> None:
    """Make the mark of r-0001 agree with its rows, whatever they are."""
    with closing(sqlite3.connect(home / "relay.db")) as database:
        database.row_factory = sqlite3.Row
        found = rows_digest(stored_rows(lambda sql, /, **values: database.execute(sql, values), "r-0001"))
        database.execute("UPDATE fold_mark SET rows_digest = ? WHERE run = 'r-0001'", [found])
        database.commit()


MINE = "WHERE run = 'r-0001'"
NEWEST = f"(SELECT max(id) FROM fact {MINE})"
MIDDLE = f"(SELECT max(id) FROM fact {MINE} AND id < {NEWEST})"


@pytest.mark.parametrize(
    "sql",
    [
        f"UPDATE fact SET data = replace(data, '1', '2') WHERE id = (SELECT min(id) FROM fact {MINE} AND data LIKE '%1%')",
        f"UPDATE fact SET at = replace(at, ':', ';') WHERE id = {MIDDLE}",
        f"UPDATE fact SET digest = '' WHERE id = {MIDDLE}",
        f"UPDATE fact SET data = 7 WHERE id = {MIDDLE}",
        f"DELETE FROM fact WHERE id = {NEWEST}",
        f"DELETE FROM fact WHERE id = {MIDDLE}",
        "UPDATE run SET reason = 'other' WHERE id = 'r-0001'",
        f"UPDATE session SET token = 'other' {MINE}",
        f"UPDATE session SET budget_s = budget_s + 1 {MINE}",
    ],
)
def test_a_changed_byte_is_found_by_a_reader_although_a_mark_is_there(home: Path, sql: str) -> None:
    assert ReadOnlyStore(home).load("r-0001").run.id == "r-0001"
    change(home, sql)
    with pytest.raises(RunDamaged):
        ReadOnlyStore(home).load("r-0001")
    with pytest.raises(RunDamaged):
        ReadOnlyStore(home).load_with_facts("r-0001", [RunParked])


def test_a_mark_that_agrees_saves_a_reader_the_fold_and_neither_the_daemon_nor_the_doctor(home: Path) -> None:
    change(home, "UPDATE run SET reason = 'other' WHERE id = 'r-0001'")
    mark_again(home)
    assert ReadOnlyStore(home).load("r-0001").run.reason == "other"
    with pytest.raises(RunDamaged):
        Store.at(home).load("r-0001")
    assert [found.run for found in defects(home / "relay.db")] == ["r-0001"]


@pytest.mark.parametrize(
    "sql",
    [
        f"DELETE FROM fold_mark {MINE}",
        f"UPDATE fold_mark SET fact = 0 {MINE}",
        f"UPDATE fold_mark SET log_digest = '' {MINE}",
        f"UPDATE fold_mark SET rows_digest = x'ff' {MINE}",
    ],
)
def test_a_mark_that_is_missing_or_damaged_costs_a_fold_and_nothing_else(home: Path, sql: str) -> None:
    whole = ReadOnlyStore(home).load("r-0001")
    change(home, sql)
    assert ReadOnlyStore(home).load("r-0001") == whole
    assert defects(home / "relay.db") == []


def test_each_append_marks_what_it_wrote(home: Path) -> None:
    store = Store.at(home)
    state = store.append("r-0001", [RunParked(reason="it broke", remedy="look")], AT)
    mark_before = sqlite3.connect(home / "relay.db").execute(f"SELECT * FROM fold_mark {MINE}").fetchone()
    mark_again(home)
    assert sqlite3.connect(home / "relay.db").execute(f"SELECT * FROM fold_mark {MINE}").fetchone() == mark_before
    assert ReadOnlyStore(home).load("r-0001") == state


def test_the_facts_of_some_kinds_are_the_same_with_and_without_a_mark(home: Path) -> None:
    store = Store.at(home)
    expected = [(at, fact) for at, fact in store.facts("r-0001") if isinstance(fact, PushIntended)]
    assert expected
    assert ReadOnlyStore(home).load_with_facts("r-0001", [PushIntended])[1] == expected
    assert ReadOnlyStore(home).load_with_facts("r-0001")[1] == store.facts("r-0001")
    change(home, f"DELETE FROM fold_mark {MINE}")
    assert ReadOnlyStore(home).load_with_facts("r-0001", [PushIntended])[1] == expected
