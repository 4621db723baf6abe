"""A disk that does not give back what it holds is neither taken for damage nor for an empty place: relay says so, and waits."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from orchestrator.app.app import App
from orchestrator.app.doctor import command as doctor
from orchestrator.app.settings import Settings
from orchestrator.base.errors import DiskRefused
from orchestrator.engine.backups import Backups
from orchestrator.engine.home import HomeLayout, log_lines
from orchestrator.engine.home_identity import identity_of
from orchestrator.kaggle.upload_journal import Slot, UploadJournal
from orchestrator.platforms.port import LogLine
from orchestrator.rehearsal.simulation.read_errors import read_error, unread
from state import machine
from state.backups import defects, file_problems, run_defects
from state.database import Database
from state.failures import StoreGone, StoreUnavailable, translated
from state.read_only import ReadOnlyStore
from state.sql import Query, Row
from state.store import Store
from tests.unit.test_damaged_database import AT, two_runs
from tests.unit.test_machine import PLANNED, STARTED

SESSION = machine.fold([(AT, STARTED), (AT, PLANNED)]).sessions[0]


def only(path: Path) -> AbstractContextManager[None]:
    """One file, or folder, that the disk does not give back."""
    return unread(lambda opened: opened == str(path))


def sqlite_error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, name), name
    return error


# --- the database ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SQLITE_IOERR_READ", "cannot be read (disk I/O error): check the disk that holds it, and try again"),
        ("SQLITE_IOERR_SHORT_READ", "cannot be read (disk I/O error): check the disk that holds it, and try again"),
        ("SQLITE_IOERR_CORRUPTFS", "cannot be read (disk I/O error): check the disk that holds it, and try again"),
        ("SQLITE_IOERR_WRITE", "is full or fails (disk I/O error): make room, then try again"),
        ("SQLITE_IOERR_SHMOPEN", "cannot be written (disk I/O error): give relay the right to write that folder"),
    ],
)
def test_what_a_disk_fails_at_is_said_with_its_own_remedy(tmp_path: Path, name: str, says: str) -> None:
    words = translated(sqlite_error(name), tmp_path / "relay.db")
    assert isinstance(words, StoreUnavailable)
    assert says in str(words)


def test_a_database_whose_folder_does_not_answer_is_not_taken_for_a_removed_one(tmp_path: Path) -> None:
    cannot_open = sqlite_error("SQLITE_CANTOPEN")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert isinstance(translated(cannot_open, tmp_path / "relay.db"), StoreGone)
    assert isinstance(translated(cannot_open, loop / "relay.db"), StoreUnavailable)


def test_a_store_that_reads_nothing_is_tried_again_and_its_runs_are_not_damaged(tmp_path: Path) -> None:
    two_runs(tmp_path)
    store = Store.at(tmp_path)
    for ask in (lambda: store.snapshot("r-0001"), store.verify, lambda: defects(tmp_path / "relay.db")):
        said = r"relay\.db cannot be read \(disk I/O error\): check the disk"
        with pytest.raises(StoreUnavailable, match=said), unread(database=True):
            ask()
    assert store.snapshot("r-0001").state == ReadOnlyStore(tmp_path).load("r-0001")
    assert defects(tmp_path / "relay.db") == []


def checked(says: str) -> Query:
    """A database of which SQLite's check says this."""

    def ask(sql: str, /, **values: object) -> Iterator[Row]:
        yield {"integrity_check": says}

    return ask


def test_a_page_that_sqlite_s_check_cannot_get_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    """SQLite tells of both in the same words (`checkTreePage` in btree.c), and only its code says which it is."""
    said, path = "*** in database main ***\nTree 4 page 7: unable to get the page. error code={}", tmp_path / "relay.db"
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        next(file_problems(checked(said.format(sqlite3.SQLITE_IOERR_READ)), path))
    assert "damaged" in next(file_problems(checked(said.format(sqlite3.SQLITE_CORRUPT)), path))


def test_a_run_whose_rows_cannot_be_read_now_is_not_called_damaged(tmp_path: Path) -> None:
    two_runs(tmp_path)
    with Database.read_only(tmp_path / "relay.db").transaction() as query:

        def ask(sql: str, /, **values: object) -> Iterator[Row]:
            if "FROM fact" in sql and "NOT IN" not in sql:  # what is asked of one run
                raise read_error()
            return query(sql, **values)

        with pytest.raises(sqlite3.OperationalError):
            list(run_defects(ask))


def test_a_backup_is_given_no_number_twice_where_its_folder_cannot_be_listed(tmp_path: Path) -> None:
    two_runs(tmp_path)
    backups = Backups(HomeLayout(tmp_path))
    made = backups.make(AT)
    assert backups.all() == [made]
    with pytest.raises(StoreUnavailable, match="backups cannot be read"), only(tmp_path / "backups"):
        backups.make(AT)
    assert backups.all() == [made]


# --- files --------------------------------------------------------------------------


def test_a_home_folder_whose_note_cannot_be_read_is_not_made_another_home(tmp_path: Path) -> None:
    first = identity_of(tmp_path, "machine")
    with (
        only(tmp_path / "home.json"),
        pytest.raises(DiskRefused, match=r"home\.json cannot be read .*continues by itself"),
    ):
        identity_of(tmp_path, "machine")
    assert identity_of(tmp_path, "machine") == first


def test_a_copy_does_not_take_its_original_for_gone_while_that_cannot_be_read(tmp_path: Path) -> None:
    first = identity_of(tmp_path / "home", "machine")
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    with only(tmp_path / "home" / "home.json"), pytest.raises(DiskRefused):
        identity_of(tmp_path / "copy", "machine")
    assert identity_of(tmp_path / "copy", "machine") != first


def test_a_log_that_cannot_be_read_holds_nothing_up_and_gets_its_lines_later(tmp_path: Path) -> None:
    home = HomeLayout(tmp_path)
    lines = [LogLine(number=n, stream="stdout", at_s=0.0, text=f"line {n}") for n in range(4)]
    home.append_log(SESSION, lines[:2])
    passed: list[int] = []
    with only(home.log(SESSION)):
        home.append_log(SESSION, (passed.append(line.number) or line for line in lines), needed=False)  # type: ignore[func-returns-value]
        assert list(log_lines(home.log(SESSION))) == []
        with pytest.raises(OSError, match="Input/output error"):
            home.append_log(SESSION, lines)
    assert passed == [0, 1, 2, 3], "what it tells is heard all the same"
    home.append_log(SESSION, lines)
    assert list(log_lines(home.log(SESSION))) == [f"line {n}" for n in range(4)]


def test_an_upload_whose_note_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    path, half = tmp_path / "state.bin", UploadJournal(tmp_path / "notes")
    path.write_bytes(b"state")
    half.begun(path, Slot("token", "http://127.0.0.1:9/1"))
    assert half.slot(path) == Slot("token", "http://127.0.0.1:9/1")
    with only(tmp_path / "notes" / "state.bin.json"):
        assert half.slot(path) is None


def test_the_doctor_does_not_blame_kaggle_for_this_disk(tmp_path: Path) -> None:
    two_runs(tmp_path)
    identity_of(tmp_path)
    with only(tmp_path / "home.json"):
        found = doctor.examine(App(Settings(tmp_path, {})), None, offline=True)
    (said,) = [one["sentence"] for one in found["findings"] if one["key"] == "homes"]
    assert "home.json cannot be read or written (Input/output error)" in said
    assert "Kaggle" not in said
