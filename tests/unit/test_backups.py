"""The database is backed up, put back and looked at: nothing is lost without being told, and nothing damaged is put back."""

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.app import restore
from orchestrator.app.app import App
from orchestrator.app.doctor import command as doctor
from orchestrator.app.doctor.kaggle import compare_clocks
from orchestrator.app.settings import HOME_BYTES_MAX, Settings
from orchestrator.base.clock import SystemClock
from orchestrator.base.errors import BadInput
from orchestrator.base.process_id import process_id
from orchestrator.engine.backups import KEPT, Backups
from orchestrator.engine.home import HomeLayout
from orchestrator.kaggle.server_time import read_date
from orchestrator.pipeline.loader import load
from orchestrator.preflight.check.findings import Severity
from orchestrator.views.lost import lost_sentence
from state.backups import copy_database, defects
from state.facts.session import SeenEnded
from state.failures import StoreCorrupt
from state.leases import LeaseLost
from state.store import Store
from tests.unit.test_damaged_database import AT, BEGUN, DAMAGE, change, two_runs
from tests.unit.test_machine import SAMPLES


@pytest.fixture
def app(tmp_path: Path) -> App:
    home = tmp_path / "home"
    two_runs(home)
    for run in ("r-0001", "r-0002"):
        (home / "runs" / run).mkdir(parents=True)
    return App(Settings(home, {"KAGGLE_USERNAME": "me", "KAGGLE_KEY": "0123456789"}))


def told(app: App, backup: Path | None = None) -> tuple[dict[str, object], list[str]]:
    lines: list[str] = []
    return restore.restore(app, backup, lines.append), lines


# --- backups ---------------------------------------------------------------------


def test_a_backup_is_one_whole_file_that_its_owner_alone_can_read(app: App) -> None:
    made = Backups(app.home).make(AT)
    assert [path.name for path in app.home.backups.iterdir()] == [made.name]
    assert made.stat().st_mode & 0o077 == 0
    assert defects(made) == []
    made.rename(app.home.path.parent / "relay.db")
    assert Store.at(app.home.path.parent).load("r-0001") == app.store.load("r-0001")


@pytest.mark.slow
def test_those_of_the_daemon_s_own_are_few_and_those_of_a_person_stay_whatever_the_clock_says(app: App) -> None:
    backups = Backups(app.home)
    mine = backups.make(AT)
    made = [backups.make_by_itself(AT - timedelta(days=number)) for number in range(KEPT + 3)]
    assert backups.all() == [mine, *made[-KEPT:]]
    assert backups.newest() == made[-1]


def test_a_damaged_database_pushes_no_backup_out_and_a_copy_of_it_bears_another_name(app: App) -> None:
    backups = Backups(app.home)
    good = backups.make_by_itself(AT)
    change(app.home.path, DAMAGE["a fact with another value"])
    with pytest.raises(StoreCorrupt, match=r"run r-0001 is damaged .*: relay doctor says what can be done"):
        backups.make_by_itself(AT)
    made, damaged = backups.make_by_hand(AT)
    assert ([one.run for one in damaged], made.name.startswith("damaged-")) == (["r-0001"], True)
    assert backups.all() == [good]


def test_a_file_that_sqlite_finds_damaged_is_not_copied(app: App, tmp_path: Path) -> None:
    data = bytearray(app.home.database.read_bytes())
    data[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    app.home.database.write_bytes(data)
    with pytest.raises(StoreCorrupt, match=r"relay (restore|doctor)"):
        copy_database(app.home.database, tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy*"))


# --- restore ---------------------------------------------------------------------


def test_what_happened_since_is_told_and_the_replaced_database_is_kept(app: App) -> None:
    backup = Backups(app.home).make(AT)
    app.store.begin_run(replace(BEGUN, run="r-0003"), AT)
    app.store.append("r-0001", [SAMPLES[SeenEnded]], AT)
    (app.home.path / "runs" / "r-0003").mkdir()
    found, lines = told(app)
    assert (found["backup"], found["absent"]) == (str(backup), ["r-0003"])
    assert found["lost"] == [{"id": "r-0003", "facts": 1}, {"id": "r-0001", "facts": 1}]
    assert any("relay adopt r-0003" in line for line in lines)
    assert [run for run, _ in Store.at(app.home.path).run_names()] == ["r-0001", "r-0002"]
    kept = Path(str(found["replaced"]))
    assert [run for run, _ in Store.at(kept).run_names()] == ["r-0001", "r-0003", "r-0002"]


@pytest.mark.parametrize("how", ["gone", "empty", "text", "its log left behind"])
def test_a_lost_database_comes_back_whatever_lies_in_its_place(app: App, how: str) -> None:
    Backups(app.home).make(AT)
    before, database = app.store.load("r-0001"), app.home.database
    with closing(sqlite3.connect(database)) as other:  # its log is not played into the new one
        other.execute(
            "INSERT INTO request (run, verb, arguments, made_at) VALUES ('r-0001', 'pause', '{}', '2030-01-07')"
        )
        other.commit()
        log = database.with_name("relay.db-wal").read_bytes()
    database.unlink()
    if how in ("empty", "text"):
        database.write_bytes(b"" if how == "empty" else b"not a database" * 400)
    if how == "its log left behind":
        database.with_name("relay.db-wal").write_bytes(log)
    told(app)
    after = Store.at(app.home.path).load("r-0001")
    assert [(one.key, one.phase) for one in after.sessions] == [(one.key, one.phase) for one in before.sessions]
    assert [one.name for one in after.checkpoints] == [one.name for one in before.checkpoints]
    assert Store.at(app.home.path).requests("r-0001") == ()


@pytest.mark.slow
def test_a_restored_home_takes_over_from_its_own_later_state_and_from_no_other_home(app: App) -> None:
    """Else what it pushed since the backup would look like the work of a copy, and the run would be parked."""
    mine, others = replace(BEGUN, run="r-0008", home=app.identity), replace(BEGUN, run="r-0009", home="other@there")
    for fact in (mine, others):
        app.store.begin_run(fact, AT)
    Backups(app.home).make(AT)
    told(app)
    runs = {run: Store.at(app.home.path).load(run).run for run in ("r-0008", "r-0009")}
    assert (runs["r-0008"].home, runs["r-0008"].generation > 0) == (app.identity, True)
    assert (runs["r-0009"].home, runs["r-0009"].generation) == ("other@there", 0)


@pytest.mark.slow
def test_a_damaged_backup_is_passed_over_or_refused_with_the_reason(app: App) -> None:
    good, bad = Backups(app.home).make(AT), Backups(app.home).make(AT)
    with closing(sqlite3.connect(bad)) as rival, rival:
        rival.execute(DAMAGE["a fact of an unknown name"])
    with pytest.raises(BadInput, match="run r-0001 is damaged"):
        told(app, bad)
    found, lines = told(app)
    assert found["backup"] == str(good)
    assert f"{bad} is passed over" in lines[0]


@pytest.mark.parametrize(
    ("named", "match"), [("nothing.db", "there is no backup"), ("README", "no database of relay's|not a database")]
)
def test_what_is_no_backup_is_refused_and_nothing_is_changed(app: App, tmp_path: Path, named: str, match: str) -> None:
    (tmp_path / "README").write_text("read me\n" * 100)
    before = app.home.database.read_bytes()
    with pytest.raises(BadInput, match=match):
        told(app, tmp_path / named)
    assert app.home.database.read_bytes() == before


def test_it_refuses_beside_a_daemon_and_one_that_comes_back_from_the_dead_has_lost_its_lease(app: App) -> None:
    lease = app.store.take_lease(process_id(), SystemClock().now(), 60)
    Backups(app.home).make(AT)
    with pytest.raises(BadInput, match=rf"process {os.getpid()} on .* stop that first"):
        told(app)
    app.store.release_lease(lease, SystemClock().now())
    told(app)
    with pytest.raises(LeaseLost):
        app.store.append("r-0001", [], AT, fence=lease.fence)


# --- runs that the database has lost -----------------------------------------------


def pipeline_of_r(folder: Path) -> Path:
    path = folder / "r.yaml"
    path.write_text("{name: r, accelerator: TpuV5E8, stages: [{name: count, kind: counting, steps: 80}]}")
    return path


@pytest.mark.parametrize("how", ["gone", "empty", "without the run"])
def test_a_run_that_the_database_has_lost_is_not_begun_a_second_time(app: App, tmp_path: Path, how: str) -> None:
    path = pipeline_of_r(tmp_path)
    if how == "without the run":
        change(app.home.path, "DELETE FROM fact WHERE run = 'r-0001'")
        for table in ("session", "checkpoint"):
            change(app.home.path, f"DELETE FROM {table} WHERE run = 'r-0001'")
        change(app.home.path, "DELETE FROM run")
    else:
        app.home.database.unlink()
    if how == "empty":
        app.home.database.touch()
    with pytest.raises(BadInput, match=r"r-0001.*relay adopt r-0001 .*relay start --new"):
        app.begin(load(path), path)
    assert app.home.run_folders() == ["r-0001", "r-0002"]


def test_a_daemon_does_not_begin_on_an_empty_database_beside_runs(app: App) -> None:
    backup = Backups(app.home).make(AT)
    app.home.database.unlink()
    with pytest.raises(BadInput) as caught:
        app.work_once(lambda run, tick: None)
    assert str(caught.value) == lost_sentence(app.home, ["r-0001", "r-0002"], gone=True)
    assert str(backup) in str(caught.value)
    assert not app.home.database.exists()


def test_a_damaged_run_of_the_same_pipeline_is_not_begun_a_second_time(app: App, tmp_path: Path) -> None:
    path = pipeline_of_r(tmp_path)
    change(app.home.path, DAMAGE["a row of an unknown status"])
    with pytest.raises(StoreCorrupt, match="run r-0001 is damaged"):
        app.begin(load(path), path)


# --- doctor ------------------------------------------------------------------------


def looked(app: App, run: str | None = None) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for finding in doctor.examine(app, run, offline=True)["findings"]:
        found.setdefault(finding["key"], []).append(finding)
    return found


def test_a_well_home_has_nothing_but_a_daemon_to_look_at(app: App) -> None:
    Backups(app.home).make(AT)
    document = doctor.examine(app, None, offline=True)
    assert [f["key"] for f in document["findings"] if f["state"] in ("problem", "warning")] == ["daemon"]
    json.dumps(document)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DAMAGE if name != "all facts deleted"])
def test_each_damage_is_a_problem_with_its_remedy(app: App, name: str) -> None:
    change(app.home.path, DAMAGE[name])
    (finding,) = looked(app, "r-0001")["database"]
    assert (finding["state"], "run r-0001" in finding["sentence"]) == ("problem", True)
    assert "relay adopt r-0001" in finding["remedy"]
    assert doctor.exit_status(doctor.examine(app, "r-0001", offline=True)) == 1
    assert "problem" not in [finding["state"] for finding in looked(app, "r-0002")["database"]]


def test_a_lost_database_a_lost_run_and_open_rights_are_problems_with_their_remedies(app: App) -> None:
    app.home.path.chmod(0o755)
    (app.home.path / "runs" / "s-0001").mkdir()
    found = looked(app)
    assert found["permissions"][0]["remedy"] == f"chmod go-rwx {app.home.path}"
    assert "relay adopt s-0001" in found["runs"][0]["remedy"]
    Backups(app.home).make(AT)
    app.home.database.unlink()
    assert looked(app)["database"][0]["remedy"].startswith("relay restore brings back")
    with pytest.raises(BadInput, match="there is no run nobody"):
        doctor.examine(app, "nobody", offline=True)


@pytest.mark.parametrize(
    ("there_s", "state", "says"),
    [
        (0.0, Severity.OK, "shows Kaggle's time"),
        (-29.0, Severity.OK, "shows Kaggle's time"),
        (7200.0, Severity.PROBLEM, "2 h behind Kaggle's"),
        (-86400.0, Severity.PROBLEM, "1 d ahead of Kaggle's"),
        (None, Severity.NOTE, "does not say"),
    ],
)
def test_this_machine_s_clock_is_held_against_kaggle_s(there_s: float | None, state: Severity, says: str) -> None:
    there = None if there_s is None else AT + timedelta(seconds=there_s)
    finding = compare_clocks(AT, there, AT)
    assert (finding.state, says in finding.sentence) == (state, True)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("Mon, 07 Jan 2030 00:00:00 GMT", AT),
        ("Mon, 07 Jan 2030 01:00:00 +0100", AT),
        ("", None),
        ("yesterday", None),
        ("Mon, 07 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_a_date_that_is_none_is_none(text: str, at: datetime | None) -> None:
    assert read_date(text) == at


# --- this machine ------------------------------------------------------------------


def test_a_home_whose_name_is_too_long_for_a_database_is_refused_with_the_limit(tmp_path: Path) -> None:
    room = HOME_BYTES_MAX - len(str(tmp_path)) - 1
    longest = tmp_path / ("a" * (room // 2)) / ("b" * (room - room // 2 - 1)) if room < 510 else tmp_path
    for home in (tmp_path.joinpath(*["x" * 100] * 9), tmp_path / ("y" * 300)):
        with pytest.raises(BadInput, match=r"name of [\d,]+ bytes.*name another folder with --home"):
            Settings(home, {})
    Settings(longest, {})
    Store.at(longest).close()
    assert Backups(HomeLayout(longest)).make(datetime(2030, 1, 7, tzinfo=UTC)).exists()
