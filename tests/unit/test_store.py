"""A store keeps what it was told, whole, and refuses what does not fit: the database and the one in memory alike."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from state import machine, upgrade
from state.database import Database
from state.facts.run import RunCancelled, RunParked, RunWoken
from state.facts.session import PushIntended, SeenEnded, SeenRunning, TwinEnded, TwinSeen
from state.failures import IllegalTransition, RunDamaged, RunExists, StoreCorrupt
from state.fold_check import FoldCache, VerifiedStates
from state.leases import LeaseHeld, LeaseLost
from state.memory_store import MemoryStore
from state.model.metrics import Metric, StepEdges
from state.model.poll_state import PollState
from state.model.snapshot import MachineTime, QuotaRow, Waiting
from state.model.statuses import Phase
from state.read_only import ReadOnlyStore
from state.revisions import SchemaError, newest_revision
from state.schema import create_tables
from state.sql import Query, scalar
from state.store import Store
from state.upgrade import backup
from tests.unit.test_machine import PLANNED, SAMPLES, STARTED, path_to

AT = datetime(2030, 1, 7, tzinfo=UTC)
FLAT = {"value": 7 / 8, "low": 7 / 8, "high": 7 / 8}


@pytest.fixture(params=["database", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store | MemoryStore:
    store = MemoryStore() if request.param == "memory" else Store.at(tmp_path / "home")
    store.begin_run(STARTED, AT)
    return store


def metric(step: int, name: str = "loss", session: int = 1) -> Metric:
    return Metric(
        run="r-0001",
        session=session,
        attempt=1,
        number=step + 4,
        stage="count",
        step=step,
        name=name,
        value=step / 8,
        at_s=1.0,
    )


def test_rows_are_what_the_facts_fold_to(store: Store | MemoryStore) -> None:
    store.append("r-0001", path_to(Phase.PUBLISHED), AT)
    loaded = store.load("r-0001")
    assert loaded == machine.fold(store.facts("r-0001"))
    assert store.load_with_facts("r-0001") == (loaded, store.facts("r-0001"))
    assert loaded.session(1, 1).phase is Phase.PUBLISHED
    assert loaded.checkpoints[0].cursor.step == 40


def test_a_row_changed_by_hand_is_noticed_on_load(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "home")
    store.begin_run(STARTED, AT)
    store.append("r-0001", [PLANNED], AT)
    with sqlite3.connect(tmp_path / "home" / "relay.db") as rival:
        rival.execute("UPDATE session SET phase = 'published'")
    with pytest.raises(StoreCorrupt, match="r-0001"):
        store.load("r-0001")


def test_a_row_changed_by_hand_is_noticed_by_a_store_that_had_checked_it_before(tmp_path: Path) -> None:
    store = checked_store(tmp_path)
    with sqlite3.connect(tmp_path / "relay.db") as rival:
        rival.execute("UPDATE session SET phase = 'published'")
    for call in (store.load, store.snapshot, lambda run: store.append(run, [], AT)):
        with pytest.raises(StoreCorrupt, match="r-0001"):
            call("r-0001")


def test_what_was_checked_once_is_not_read_again_and_a_new_process_reads_all_of_it(tmp_path: Path) -> None:
    store = checked_store(tmp_path)
    with sqlite3.connect(tmp_path / "relay.db") as rival:
        rival.execute("UPDATE fact SET data = '{}' WHERE name = 'session_planned'")
    for fact in path_to(Phase.RUNNING)[1:]:
        store.append("r-0001", [fact], AT)
    assert store.snapshot("r-0001").state.session(1, 1).phase is Phase.RUNNING
    with pytest.raises(RunDamaged, match="fact 2 or the one before it is not what was written"):
        Store.at(tmp_path).load("r-0001")


def test_what_another_process_has_written_is_seen_at_once(tmp_path: Path) -> None:
    store, other = checked_store(tmp_path), Store.at(tmp_path)
    rest = path_to(Phase.RUNNING)[1:]
    other.append("r-0001", rest, AT)
    assert store.load("r-0001").session(1, 1).phase is Phase.RUNNING
    store.append("r-0001", [SAMPLES[SeenEnded]], AT)
    assert other.load("r-0001") == store.load("r-0001") == machine.fold(store.facts("r-0001"))


def test_a_backup_that_is_put_back_under_a_store_is_believed(tmp_path: Path) -> None:
    store = checked_store(tmp_path)
    kept = backup(tmp_path / "relay.db", "then")
    assert kept is not None
    before = store.load("r-0001")
    store.append("r-0001", path_to(Phase.RUNNING)[1:], AT)
    with closing(sqlite3.connect(kept)) as old, closing(sqlite3.connect(tmp_path / "relay.db")) as now:
        old.backup(now)
    assert store.load("r-0001") == before
    assert store.append("r-0001", [SAMPLES[PushIntended]], AT).session(1, 1).phase is Phase.PUSHING


def test_what_a_process_remembers_of_its_runs_is_bounded() -> None:
    state = machine.begin(STARTED, AT)
    remembered = VerifiedStates(parts_max=10)
    for number in range(100):
        remembered.keep(f"r-{number}", FoldCache(number, state))
    kept = [number for number in range(100) if remembered.of(f"r-{number}") is not None]
    assert kept == list(range(90, 100))
    remembered.keep("r-95", FoldCache(200, replace(state, sessions=(None,) * 20)))  # type: ignore[arg-type]
    assert [number for number in range(100) if remembered.of(f"r-{number}") is not None] == []


def checked_store(home: Path) -> Store:
    """A store that has checked a run with one planned session."""
    store = Store.at(home)
    store.begin_run(STARTED, AT)
    store.append("r-0001", [PLANNED], AT)
    return store


def test_a_fact_that_does_not_fit_leaves_nothing_behind(store: Store | MemoryStore) -> None:
    with pytest.raises(IllegalTransition):
        store.append("r-0001", [PLANNED, SAMPLES[SeenRunning]], AT, watch=PollState(failures=3))
    assert store.load("r-0001").sessions == ()
    assert len(store.facts("r-0001")) == 1
    assert store.snapshot("r-0001").watch == PollState()


def test_nobody_writes_between_our_read_and_our_write(tmp_path: Path) -> None:
    ours = Database.writable(tmp_path / "c.db")
    with ours.transaction() as query:
        query("CREATE TABLE t (n)")
    rival = sqlite3.connect(tmp_path / "c.db", timeout=0.05, isolation_level=None)
    with ours.transaction() as query:
        assert list(query("SELECT n FROM t")) == []
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            rival.execute("INSERT INTO t VALUES (1)")
    rival.close()


def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    database = Database.writable(tmp_path / "c.db")
    with pytest.raises(ZeroDivisionError), database.transaction() as query:
        query("CREATE TABLE t (n)")
        query("INSERT INTO t VALUES (:n)", n=1 // 0)
    with database.transaction() as query:
        assert list(query("SELECT name FROM sqlite_master")) == []


def test_whoever_only_looks_sees_one_moment_while_others_write(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "home")
    store.begin_run(STARTED, AT)
    looking, count = Database.read_only(tmp_path / "home" / "relay.db"), "SELECT count(*) AS facts FROM fact"
    with looking.transaction() as query:
        before = scalar(query(count), "facts")
        store.append("r-0001", [PLANNED], AT)
        assert scalar(query(count), "facts") == before
    with looking.transaction() as query:
        assert scalar(query(count), "facts") == before + 1


def test_the_settings_that_durability_needs_are_on(tmp_path: Path) -> None:
    names = ("journal_mode", "synchronous", "foreign_keys")
    with Database.writable(tmp_path / "c.db").transaction() as query:
        found = {name: scalar(query(f"PRAGMA {name}"), name) for name in names}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_no_reader_ever_sees_a_new_database_without_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def create_and_look(query: Query, revision: str) -> None:
        create_tables(query, revision)
        seen.append(sorted(tmp_path.glob("relay.db")))

    monkeypatch.setattr(upgrade, "create_tables", create_and_look)
    Store.at(tmp_path)
    assert seen == [[]], "the file has its name before it is complete"
    assert ReadOnlyStore(tmp_path).run_names() == []
    assert list(tmp_path.glob("*.new")) == []


def test_a_database_is_created_where_the_disk_has_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    Store.at(tmp_path)
    assert ReadOnlyStore(tmp_path).run_names() == []


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


def test_a_replayed_metric_is_counted_once(store: Store | MemoryStore) -> None:
    store.append("r-0001", [], AT, watch=PollState(), metrics=[metric(3)])
    store.append("r-0001", [], AT, metrics=[replace(metric(3), value=99.0)])
    assert store.metrics("r-0001") == [metric(3)]


def test_metrics_come_in_the_order_of_sessions_and_events_and_the_last_of_each_is_the_newest(
    store: Store | MemoryStore,
) -> None:
    made = [metric(2, session=2), metric(5), metric(1), metric(1, "accuracy")]
    store.append("r-0001", [], AT, watch=PollState(failures=2), metrics=made)
    assert store.metrics("r-0001") == [metric(1, "accuracy"), metric(1), metric(5), metric(2, session=2)]
    assert store.metrics("r-0001", session=(2, 1)) == [metric(2, session=2)]
    assert store.last_metrics("r-0001") == [metric(1, "accuracy"), metric(2, session=2)]
    assert store.snapshot("r-0001").watch == PollState(failures=2)


def test_a_curve_has_its_mean_and_its_reach_in_few_points_however_many_steps_there_were(
    store: Store | MemoryStore,
) -> None:
    store.append("r-0001", [], AT, watch=PollState(), metrics=[metric(step) for step in range(1, 1001)])
    store.append(
        "r-0001", [], AT, watch=PollState(), metrics=[metric(step, session=2) for step in (999, 1000)]
    )  # lost, and done again
    store.append("r-0001", [], AT, watch=PollState(), metrics=[metric(7, "reward")])
    curves = store.series("r-0001", 100)
    loss = [point for point in curves if point.name == "loss"]
    assert [point for point in curves if point.name == "reward"] == [replace(loss[0], name="reward", step=7, **FLAT)]
    assert 80 <= len(loss) <= 100
    assert [point.step for point in loss] == sorted({point.step for point in loss})
    assert (loss[-1].step, loss[-1].high, loss[0].low) == (1000, 1000 / 8, 1 / 8)
    assert all(point.low <= point.value <= point.high for point in loss)
    assert [point.step for point in store.series("r-0001", 5000) if point.name == "loss"] == list(range(1, 1001))


def test_the_newest_steps_of_each_stage_are_told_with_their_times_and_the_first_of_each_session(
    store: Store | MemoryStore,
) -> None:
    for session, begin in ((1, 0), (2, 10)):
        told = [metric(step, name, session) for step in range(begin + 1, begin + 11) for name in ("loss", "kl")]
        store.append("r-0001", [], AT, watch=PollState(), metrics=[replace(one, at_s=one.step * 2.0) for one in told])
    seen = store.steps_seen("r-0001", 3)
    assert [(one.session, one.step) for one in seen] == [(1, 1), (2, 11), (2, 18), (2, 19), (2, 20)]
    assert [(one.stage, one.at_s) for one in seen[-2:]] == [("count", 38.0), ("count", 40.0)]
    assert len(store.steps_seen("r-0001", 100)) == 20
    assert store.steps_seen("another", 100) == []


def test_when_each_session_told_of_its_first_and_last_step_is_known(store: Store | MemoryStore) -> None:
    store.append(
        "r-0001", [], AT, watch=PollState(), metrics=[replace(metric(step), at_s=10.0 + step) for step in (3, 1, 2)]
    )
    store.append("r-0001", [], AT, watch=PollState(), metrics=[replace(metric(4, session=2), at_s=50.0)])
    assert store.step_edges("r-0001") == [
        StepEdges(session=1, attempt=1, first_at_s=11.0, last_at_s=13.0),
        StepEdges(session=2, attempt=1, first_at_s=50.0, last_at_s=50.0),
    ]
    assert store.step_edges("nobody") == []


def test_when_steps_were_completed_is_known_for_each_session_and_no_finer_than_the_curves(
    store: Store | MemoryStore,
) -> None:
    for session, steps in ((1, range(1, 9)), (2, range(7, 21))):
        told = [replace(metric(step, session=session), at_s=step * 2.0 + session) for step in steps]
        store.append("r-0001", [], AT, watch=PollState(), metrics=told)
    every = store.step_times("r-0001", 100)
    assert [(one.session, one.step) for one in every] == [
        *((1, n) for n in range(1, 9)),
        *((2, n) for n in range(7, 21)),
    ]
    assert [one.at_s for one in every if one.step == 7] == [15.0, 16.0]
    thinned = store.step_times("r-0001", 10)
    assert [(one.session, one.step, one.at_s) for one in thinned][:4] == [
        (1, 2, 5.0),
        (1, 5, 11.0),
        (1, 8, 17.0),
        (2, 8, 18.0),
    ]
    assert {point.step for point in store.series("r-0001", 10)} <= {one.step for one in thinned}
    assert store.step_times("nobody", 10) == []


def test_another_runs_live_session_takes_a_slot_and_one_that_ended_does_not(store: Store | MemoryStore) -> None:
    other = replace(STARTED, run="r-0002")
    store.begin_run(other, AT + timedelta(seconds=1))
    assert [run.id for run in store.runs()] == ["r-0001", "r-0002"]
    store.append("r-0002", path_to(Phase.RUNNING), AT)
    assert store.snapshot("r-0001").others_live == 1
    assert store.snapshot("r-0002").others_live == 0
    store.append("r-0002", [SAMPLES[SeenEnded]], AT)
    assert store.snapshot("r-0001").others_live == 0


def test_a_second_session_of_a_kernel_takes_a_slot_and_hours_until_it_ends(store: Store | MemoryStore) -> None:
    run = store.load("r-0001").run
    store.begin_run(replace(STARTED, run="r-0002"), AT)
    key, ended_at = {"number": 1, "attempt": 1}, AT + timedelta(hours=1)
    seen = TwinSeen(**key, version=2, worker="running")
    state = store.append("r-0001", [*path_to(Phase.RUNNING), seen, SAMPLES[SeenEnded]], AT)
    assert store.snapshot("r-0002").others_live == 1
    twin = MachineTime(began_at=AT, ended_at=None, limit_s=state.sessions[0].limit_s)
    assert store.machine_times(run.owner, run.accelerator, AT) == [twin]
    state = store.append("r-0001", [TwinEnded(**key, version=2)], ended_at)
    assert store.snapshot("r-0002").others_live == 0
    assert store.machine_times(run.owner, run.accelerator, AT) == [replace(twin, ended_at=ended_at)]
    assert (state.sessions[0].twin, state.sessions[0].twin_lives) == (2, False)


def test_a_second_session_of_a_run_that_is_over_takes_no_slot_any_more(store: Store | MemoryStore) -> None:
    store.begin_run(replace(STARTED, run="r-0002"), AT)
    seen = TwinSeen(number=1, attempt=1, version=2, worker="running")
    store.append("r-0001", [*path_to(Phase.NO_CHECKPOINT), seen], AT)
    assert store.snapshot("r-0002").others_live == 1
    store.append("r-0001", [SAMPLES[RunCancelled]], AT)
    assert store.snapshot("r-0002").others_live == 0


def test_a_run_that_is_over_is_not_open(store: Store | MemoryStore) -> None:
    assert store.open_runs() == ["r-0001"]
    store.append("r-0001", [SAMPLES[RunCancelled]], AT)
    assert store.open_runs() == []
    assert [run.id for run in store.runs()] == ["r-0001"]


def test_an_open_run_s_mark_changes_with_each_fact_and_each_request_and_with_nothing_else(
    store: Store | MemoryStore,
) -> None:
    store.begin_run(replace(STARTED, run="r-0002"), AT)
    marks = [store.change_tokens()]
    store.append("r-0001", [], AT, watch=PollState(polled_at=AT), metrics=[metric(1)])
    store.append("r-0001", [], AT, watch=PollState(failures=1))
    assert store.change_tokens() == marks[0]
    store.append("r-0001", [PLANNED], AT)
    marks.append(store.change_tokens())
    number = store.request("r-0001", "pause", {}, AT)
    marks.append(store.change_tokens())
    store.append("r-0001", [SAMPLES[RunParked]], AT, fulfilled=number)
    marks.append(store.change_tokens())
    assert len({found["r-0001"] for found in marks}) == 4
    assert {found["r-0002"] for found in marks} == {marks[0]["r-0002"]}
    store.append("r-0002", [RunCancelled()], AT)
    assert list(store.change_tokens()) == ["r-0001"]


def test_a_cancelled_run_is_open_while_its_session_goes_on(store: Store | MemoryStore) -> None:
    store.append("r-0001", [*path_to(Phase.RUNNING), RunCancelled()], AT)
    assert store.open_runs() == ["r-0001"]
    store.append("r-0001", [SAMPLES[SeenEnded]], AT)
    assert store.open_runs() == []


def test_runs_that_want_a_slot_are_known_to_the_others_until_they_have_one(store: Store | MemoryStore) -> None:
    store.begin_run(replace(STARTED, run="r-0002"), AT)
    assert store.snapshot("r-0002").waiting == ()
    later = AT + timedelta(seconds=5)
    store.append("r-0001", [], AT, watch=PollState(slot_since=AT, slot_seen_at=later))
    assert store.snapshot("r-0002").waiting == (Waiting(run="r-0001", since=AT, seen_at=later),)
    assert store.snapshot("r-0001").waiting == ()
    store.append("r-0001", path_to(Phase.PUSHED), AT)
    assert store.snapshot("r-0002").waiting == ()


def test_a_parked_run_wants_no_slot(store: Store | MemoryStore) -> None:
    store.begin_run(replace(STARTED, run="r-0002"), AT)
    store.append("r-0001", [SAMPLES[RunParked]], AT, watch=PollState(slot_since=AT, slot_seen_at=AT))
    assert store.snapshot("r-0002").waiting == ()


def test_what_the_accounts_sessions_took_is_told_by_their_times(store: Store | MemoryStore) -> None:
    run = store.load("r-0001").run
    store.append("r-0001", path_to(Phase.RUNNING), AT)
    limit_s = store.load("r-0001").sessions[0].limit_s
    live = MachineTime(began_at=AT, ended_at=None, limit_s=limit_s)
    assert store.machine_times(run.owner, run.accelerator, AT + timedelta(days=9)) == [live]
    assert store.machine_times("somebody", run.accelerator, AT) == []
    ended_at = AT + timedelta(hours=1)
    store.append("r-0001", [SAMPLES[SeenEnded]], ended_at)
    assert store.machine_times(run.owner, run.accelerator, AT) == [replace(live, ended_at=ended_at)]
    assert store.machine_times(run.owner, run.accelerator, ended_at) == []


def test_times_of_a_clock_that_was_set_are_forgotten_and_failures_are_not(store: Store | MemoryStore) -> None:
    seen = PollState(
        polled_at=AT, failures=3, failing_since=AT, failed_at=AT, failing_s=9.0, failure="no", not_before=AT
    )
    store.append("r-0001", [], AT, watch=replace(seen, log_lines=4, absences=2, slot_since=AT, slot_seen_at=AT))
    store.clear_poll_times(store.take_lease("a", AT, 60).fence)
    kept = PollState(failures=3, failing_s=9.0, failure="no", log_lines=4, absences=2)
    assert store.snapshot("r-0001").watch == store.watch("r-0001") == kept


def test_a_lease_that_no_clock_that_was_right_gave_locks_nobody_out(store: Store | MemoryStore) -> None:
    store.take_lease("a", AT + timedelta(days=4000), 60)
    with pytest.raises(LeaseHeld):
        store.take_lease("b", AT, 60, alive=lambda holder: True)
    assert store.take_lease("b", AT, 60, alive=lambda holder: None).fence == 2


def test_a_run_that_never_was_is_a_key_error(store: Store | MemoryStore) -> None:
    for call in (store.load, store.snapshot):
        with pytest.raises(KeyError, match="r-9999"):
            call("r-9999")


def test_requests_are_open_until_they_are_obeyed(store: Store | MemoryStore) -> None:
    number = store.request("r-0001", "pause", {}, AT)
    assert [r.verb for r in store.snapshot("r-0001").requests] == ["pause"]
    with pytest.raises(IllegalTransition):
        store.append("r-0001", [SAMPLES[RunWoken]], AT, fulfilled=number)
    assert len(store.snapshot("r-0001").requests) == 1
    store.append("r-0001", [SAMPLES[RunParked]], AT, fulfilled=number)
    assert store.snapshot("r-0001").requests == ()


def test_times_come_back_aware_and_in_utc(store: Store | MemoryStore) -> None:
    assert store.load("r-0001").run.created_at == AT
    assert store.load("r-0001").run.created_at.tzinfo is not None


def test_unknown_quota_stays_unknown(store: Store | MemoryStore) -> None:
    row = QuotaRow(
        owner="me", accelerator="tpu", used_s=0.0, reserved_s=0.0, total_s=None, refreshes_at=None, read_at=AT
    )
    store.write_quota(row)
    found = store.snapshot("r-0001").quota
    assert found == row
    assert found.left_s is None
    assert store.quotas() == [row]


def test_a_second_daemon_is_refused_while_the_first_ones_lease_lasts(store: Store | MemoryStore) -> None:
    store.take_lease("a", AT, 60)
    with pytest.raises(LeaseHeld, match="a"):
        store.take_lease("b", AT + timedelta(seconds=59), 60)
    assert store.take_lease("b", AT + timedelta(seconds=61), 60).fence == 2


def test_a_daemon_that_is_known_to_be_dead_does_not_hold_its_lease(store: Store | MemoryStore) -> None:
    store.take_lease("a", AT, 60)
    assert store.take_lease("b", AT, 60, alive=lambda holder: holder != "a").fence == 2


def test_a_daemon_that_lost_its_lease_can_write_nothing(store: Store | MemoryStore) -> None:
    old = store.take_lease("a", AT, 60)
    store.take_lease("b", AT + timedelta(seconds=61), 60)
    with pytest.raises(LeaseLost):
        store.append("r-0001", [PLANNED], AT, fence=old.fence)
    with pytest.raises(LeaseLost):
        store.keep_lease(old, AT, 60)
    assert store.load("r-0001").sessions == ()


def test_a_released_lease_can_be_taken_at_once(store: Store | MemoryStore) -> None:
    lease = store.take_lease("a", AT, 60)
    kept = store.keep_lease(lease, AT, 90)
    assert store.lease() == kept
    assert kept.expires_at == AT + timedelta(seconds=90)
    store.release_lease(lease, AT)
    assert store.take_lease("b", AT, 60).fence == 2


@pytest.mark.parametrize("kind", ["database", "memory"])
def test_a_run_with_a_past_is_written_whole_or_not_at_all(tmp_path: Path, kind: str) -> None:
    store = MemoryStore() if kind == "memory" else Store.at(tmp_path / "home")
    past = [(AT + timedelta(hours=1), fact) for fact in path_to(Phase.PUBLISHED)]
    with pytest.raises(IllegalTransition):
        store.begin_run(STARTED, AT, later=[*past, past[-1]])
    assert store.runs() == []
    state = store.begin_run(STARTED, AT, later=past)
    assert store.load("r-0001") == state == machine.fold(store.facts("r-0001"))
    assert (state.run.created_at, state.session(1, 1).planned_at) == (AT, AT + timedelta(hours=1))
    with pytest.raises(RunExists):
        store.begin_run(STARTED, AT)
    assert store.load("r-0001") == state


def test_the_end_of_the_log_is_told_of_one_run_or_of_all_together(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "home")
    store.begin_run(STARTED, AT)
    store.append("r-0001", path_to(Phase.RUNNING), AT)
    store.begin_run(replace(STARTED, run="r-0002"), AT)
    newest = store.newest_facts(2)
    assert [(found.run, found.fact.name) for found in newest] == [("r-0001", "seen_running"), ("r-0002", "run_started")]
    assert newest[0].number < newest[1].number
    assert [found.fact for found in store.newest_facts(100, "r-0001")] == [fact for _, fact in store.facts("r-0001")]


def test_what_was_asked_is_told_until_it_is_obeyed(store: Store | MemoryStore) -> None:
    number = store.request("r-0001", "pause", {}, AT)
    assert [(asked.verb, asked.made_at) for asked in store.requests("r-0001")] == [("pause", AT)]
    store.append("r-0001", [], AT, fulfilled=number)
    assert store.requests("r-0001") == ()
