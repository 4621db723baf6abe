"""The database keeps what it was told, whole, and refuses what does not fit."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from state import machine, schema
from state.engine import SchemaError, migrate, newest_revision, open_engine, open_to_look
from state.facts import RunParked, SeenRunning
from state.failures import StoreCorrupt
from state.machine import IllegalTransition
from state.model import Metric, Phase, QuotaRow, Watch
from state.store import LeaseHeld, LeaseLost, Store
from tests.unit.test_machine import PLANNED, SAMPLES, STARTED, path_to

AT = datetime(2030, 1, 7, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.at(tmp_path / "home")
    store.begin_run(STARTED, AT)
    return store


def test_rows_are_what_the_facts_fold_to(store: Store) -> None:
    store.append("r-0001", path_to(Phase.PUBLISHED), AT)
    loaded = store.load("r-0001")
    assert loaded == machine.fold(store.facts("r-0001"))
    assert loaded.session(1, 1).phase is Phase.PUBLISHED
    assert loaded.checkpoints[0].cursor.step == 40


def test_a_row_changed_by_hand_is_noticed_on_load(store: Store, tmp_path: Path) -> None:
    store.append("r-0001", [PLANNED], AT)
    with sqlite3.connect(tmp_path / "home" / "relay.db") as rival:
        rival.execute("UPDATE session SET phase = 'published'")
    with pytest.raises(StoreCorrupt, match="r-0001"):
        store.load("r-0001")


def test_a_fact_that_does_not_fit_leaves_nothing_behind(store: Store) -> None:
    with pytest.raises(IllegalTransition):
        store.append("r-0001", [PLANNED, SAMPLES[SeenRunning]], AT, watch=Watch(failures=3))
    assert store.load("r-0001").sessions == ()
    assert len(store.facts("r-0001")) == 1
    assert store.snapshot("r-0001").watch == Watch()


def test_nobody_writes_between_our_read_and_our_write(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'c.db'}")
    with engine.begin() as ours:
        ours.execute(text("CREATE TABLE t (n)"))
    rival = sqlite3.connect(tmp_path / "c.db", timeout=0.05, isolation_level=None)
    with engine.begin() as ours:
        ours.execute(text("SELECT n FROM t"))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            rival.execute("INSERT INTO t VALUES (1)")
    rival.close()
    engine.dispose()


def test_whoever_only_looks_sees_one_moment_while_others_write(store: Store, tmp_path: Path) -> None:
    looking = open_to_look(tmp_path / "home" / "relay.db")
    count = text("SELECT count(*) FROM fact")
    with looking.begin() as connection:
        before = connection.execute(count).scalar()
        store.append("r-0001", [PLANNED], AT)
        assert connection.execute(count).scalar() == before
    with looking.begin() as connection:
        assert connection.execute(count).scalar() == (before or 0) + 1
    looking.dispose()


def test_the_settings_that_durability_needs_are_on(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'c.db'}")
    with engine.begin() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    engine.dispose()


def test_migrations_make_the_tables_that_the_code_describes(tmp_path: Path) -> None:
    migrated = open_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    migrate(migrated)
    described = create_engine(f"sqlite:///{tmp_path / 'described.db'}")
    schema.metadata.create_all(described)

    def shape(engine) -> dict[str, object]:
        found = inspect(engine)
        return {
            table: (
                [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)],
                sorted(str(index["column_names"]) for index in found.get_indexes(table)),
                found.get_pk_constraint(table)["constrained_columns"],
            )
            for table in found.get_table_names()
            if table != "alembic_version"
        }

    assert shape(migrated) == shape(described)
    migrated.dispose()
    described.dispose()


def test_a_database_of_a_newer_relay_is_refused_with_the_remedy(tmp_path: Path) -> None:
    Store.at(tmp_path).close()
    with sqlite3.connect(tmp_path / "relay.db") as rival:
        rival.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match="update relay"):
        Store.at(tmp_path)
    assert newest_revision() < "9999"


def test_only_its_owner_can_read_the_database(tmp_path: Path) -> None:
    Store.at(tmp_path / "home")
    assert (tmp_path / "home" / "relay.db").stat().st_mode & 0o077 == 0
    assert (tmp_path / "home").stat().st_mode & 0o077 == 0


def test_a_replayed_metric_is_counted_once(store: Store) -> None:
    metric = Metric(
        run="r-0001", session=1, attempt=1, number=7, stage="count", step=3, name="loss", value=0.5, at_s=1.0
    )
    store.observe("r-0001", Watch(), [metric])
    store.observe("r-0001", Watch(), [metric])
    assert store.metrics("r-0001") == [metric]
    assert store.last_metrics("r-0001") == [metric]


def test_requests_are_open_until_they_are_obeyed(store: Store) -> None:
    number = store.request("r-0001", "pause", {}, AT)
    assert [r.verb for r in store.snapshot("r-0001").requests] == ["pause"]
    store.append("r-0001", [SAMPLES[RunParked]], AT, obeyed=number)
    assert store.snapshot("r-0001").requests == ()


def test_times_come_back_aware_and_in_utc(store: Store) -> None:
    assert store.load("r-0001").run.created_at == AT
    assert store.load("r-0001").run.created_at.tzinfo is not None


def test_unknown_quota_stays_unknown(store: Store) -> None:
    row = QuotaRow(
        owner="me", accelerator="tpu", used_s=0.0, reserved_s=0.0, total_s=None, refreshes_at=None, read_at=AT
    )
    store.write_quota(row)
    found = store.snapshot("r-0001").quota
    assert found == row
    assert found.left_s is None


def test_a_second_daemon_is_refused_while_the_first_ones_lease_lasts(store: Store) -> None:
    store.take_lease("a", AT, 60)
    with pytest.raises(LeaseHeld, match="a"):
        store.take_lease("b", AT + timedelta(seconds=59), 60)
    assert store.take_lease("b", AT + timedelta(seconds=61), 60).fence == 2


def test_a_daemon_that_is_known_to_be_dead_does_not_hold_its_lease(store: Store) -> None:
    store.take_lease("a", AT, 60)
    assert store.take_lease("b", AT, 60, alive=lambda holder: holder != "a").fence == 2


def test_a_daemon_that_lost_its_lease_can_write_nothing(store: Store) -> None:
    old = store.take_lease("a", AT, 60)
    store.take_lease("b", AT + timedelta(seconds=61), 60)
    with pytest.raises(LeaseLost):
        store.append("r-0001", [PLANNED], AT, fence=old.fence)
    with pytest.raises(LeaseLost):
        store.keep_lease(old, AT, 60)
    assert store.load("r-0001").sessions == ()


def test_a_released_lease_can_be_taken_at_once(store: Store) -> None:
    lease = store.take_lease("a", AT, 60)
    store.release_lease(lease, AT)
    assert store.take_lease("b", AT, 60).fence == 2
