"""A database that is damaged sets the run apart that it concerns, in one sentence; what is whole goes on."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.base.clock import Stop, VirtualClock
from orchestrator.base.errors import BadInput
from orchestrator.core.commands import Wait
from orchestrator.core.plan import Limits
from orchestrator.engine.daemon import Daemon, LeaseKeeper
from orchestrator.engine.effects import EffectContext
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.tick import TickResult
from orchestrator.pipeline.loader import parse
from orchestrator.views.document import status_document
from orchestrator.views.overview import status_view
from orchestrator.views.printing import console
from state.backups import copy_database, defects
from state.digests import link
from state.facts.run import RunCancelled
from state.failures import RunDamaged, StoreCorrupt, StoreGone
from state.model.metrics import Metric
from state.model.poll_state import PollState
from state.model.run_state import RunState
from state.model.statuses import Phase
from state.read_only import ReadOnlyStore
from state.revisions import SchemaError
from state.store import Store
from tests.unit.test_machine import PLANNED, STARTED, path_to

AT = datetime(2030, 1, 7, tzinfo=UTC)
COUNTING = parse("{name: r, accelerator: TpuV5E8, stages: [{name: count, kind: counting, steps: 80}]}", "r.yaml")
BEGUN = replace(STARTED, pipeline=COUNTING.canonical(), pipeline_digest=COUNTING.digest)


def two_runs(home: Path) -> None:
    """One that is carried out, and another one beside it."""
    store = Store.at(home)
    store.begin_run(BEGUN, AT)
    store.append("r-0001", path_to(Phase.RUNNING), AT)
    store.begin_run(replace(BEGUN, run="r-0002"), AT + timedelta(seconds=1))
    store.close()


def change(home: Path, sql: str) -> None:
    with closing(sqlite3.connect(home / "relay.db")) as rival, rival:
        rival.execute("PRAGMA foreign_keys=OFF")
        rival.execute(sql)


DAMAGE = {
    "a fact of an unknown name": "UPDATE fact SET name = 'ween_running' WHERE run = 'r-0001' AND name = 'seen_running'",
    "a fact of broken JSON": "UPDATE fact SET data = '{\"number\"' WHERE run = 'r-0001' AND name = 'session_planned'",
    "a fact with another value": "UPDATE fact SET data = replace(data, 's0001', 's0009') WHERE name = 'session_planned'",
    "a fact that is deleted": "DELETE FROM fact WHERE run = 'r-0001' AND name = 'push_confirmed'",
    "all facts deleted": "DELETE FROM fact WHERE run = 'r-0001'",
    "a fact with another time": "UPDATE fact SET at = 'soon' WHERE run = 'r-0001' AND name = 'seen_running'",
    "a fact that is no text": "UPDATE fact SET data = CAST(x'7b22ff' AS TEXT) WHERE run = 'r-0001' AND id = 2",
    "a row of an unknown status": "UPDATE run SET status = 'bctive' WHERE id = 'r-0001'",
    "a row with another time": "UPDATE run SET created_at = '2030-13-07' WHERE id = 'r-0001'",
    "a row that was changed": "UPDATE session SET phase = 'published' WHERE run = 'r-0001'",
    "a row of broken JSON": "UPDATE session SET start = '{' WHERE run = 'r-0001'",
    "a row that was deleted": "DELETE FROM session WHERE run = 'r-0001'",
    "a request of broken JSON": (
        "INSERT INTO request (run, verb, arguments, made_at) VALUES ('r-0001', 'pause', '{', '2030-01-07 00:00:00')"
    ),
}


@pytest.fixture(params=DAMAGE.values(), ids=DAMAGE.keys())
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    two_runs(tmp_path)
    change(tmp_path, request.param)
    return tmp_path


def test_the_damaged_run_is_named_in_one_sentence_with_the_remedy_and_the_other_can_be_read(damaged: Path) -> None:
    for store in (Store.at(damaged), ReadOnlyStore(damaged)):
        with pytest.raises(RunDamaged) as caught:
            store.snapshot("r-0001")
        assert (caught.value.run, "\n" in str(caught.value)) == ("r-0001", False)
        for command in ("relay doctor r-0001", "relay restore", "relay adopt r-0001"):
            assert command in str(caught.value)
        assert store.load("r-0002").run.id == "r-0002"
        assert {run for run, _ in store.run_names()} == {"r-0001", "r-0002"}


def test_the_status_of_all_shows_it_apart_and_the_others_as_ever(damaged: Path) -> None:
    document = status_document(ReadOnlyStore(damaged), damaged, AT)
    if document["damaged"]:  # an unreadable request alone keeps nobody from reading the run itself
        assert [run["id"] for run in document["damaged"]] == ["r-0001"]
        assert document["damaged"][0]["command"] == "relay doctor r-0001"
    assert "r-0002" in [run["id"] for run in document["runs"]]
    shown = console()
    with shown.capture() as said:
        shown.print(status_view(document))
    assert "r-0002" in said.get()


def test_a_doctor_finds_it(damaged: Path) -> None:
    assert [found.run for found in defects(damaged / "relay.db") if found.severe] == ["r-0001"]


def test_a_whole_database_has_no_ailment(tmp_path: Path) -> None:
    two_runs(tmp_path)
    assert defects(tmp_path / "relay.db") == []
    Store.at(tmp_path).verify()


# --- the daemon ----------------------------------------------------------------


def nobody(state: RunState) -> EffectContext:
    raise BadInput(f"{state.run.id} is asked for")


def test_the_daemon_sets_it_apart_says_so_and_carries_the_others_on(damaged: Path) -> None:
    store, clock, heard = Store.at(damaged), VirtualClock(AT), list[tuple[str, TickResult]]()
    shell = EffectContext(None, HomeLayout(damaged), clock, Limits())  # type: ignore[arg-type]

    def serve(state: RunState) -> EffectContext:
        return shell if state.run.id == "r-0001" else nobody(state)

    with LeaseKeeper(store, clock) as keeper:
        daemon = Daemon(
            store, serve, clock, keeper, lambda *tick: heard.append(tick), heard.append, lambda: 0.0, Stop()
        )
        daemon.round()
    failures = {run: tick.failure for run, tick in heard}
    assert failures["r-0002"] == "r-0002 is asked for"
    if "r-0001" in failures:  # a run of which nothing can be read may not be open
        assert "run r-0001 is damaged in relay's database" in failures["r-0001"]
        assert all(isinstance(tick.command, Wait) for run, tick in heard if run == "r-0001")


# --- observations ----------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE poll_state SET polled_at = 'never'",
        "UPDATE poll_state SET seconds = '{'",
        "UPDATE quota SET read_at = 'never'",
        "UPDATE metric SET name = CAST(x'ff' AS TEXT)",
    ],
)
def test_an_observation_that_cannot_be_read_counts_as_not_made(tmp_path: Path, sql: str) -> None:
    two_runs(tmp_path)
    store = Store.at(tmp_path)
    seen = Metric(run="r-0001", session=1, attempt=1, number=1, stage="count", step=1, name="loss", value=1.0, at_s=1.0)
    store.append("r-0001", [], AT, watch=PollState(polled_at=AT), metrics=[seen])
    change(tmp_path, sql)
    snapshot = store.snapshot("r-0001")
    assert snapshot.watch == (PollState() if "poll_state" in sql else PollState(polled_at=AT))
    assert snapshot.quota is None
    assert len(store.metrics("r-0001")) == 1
    assert store.load("r-0002").run.id == "r-0002"


# --- the chain of digests ----------------------------------------------------------


def test_a_digest_depends_on_every_part_of_its_fact_and_on_the_one_before() -> None:
    parts = {"before": "", "run": "r-0001", "at": AT, "name": "run_woken", "data": {"a": 1.5}}
    changed = {
        "before": "x",
        "run": "r-0002",
        "at": AT + timedelta(microseconds=1),
        "name": "run_w",
        "data": {"a": 1.25},
    }
    found = {link(**parts)} | {link(**{**parts, key: value}) for key, value in changed.items()}  # type: ignore[arg-type]
    assert len(found) == 6
    assert link(**{**parts, "data": '{"a": 1.5}'}) == link(**parts)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("whole")
    two_runs(home)
    return copy_database(home / "relay.db", home / "copy.db")


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_bit_that_is_turned_over_anywhere_is_told_in_a_sentence_or_changes_no_run(
    whole: Path, tmp_path: Path, place: int, bit: int
) -> None:
    data = bytearray(whole.read_bytes())
    held = [at for at, byte in enumerate(data) if byte]
    data[held[place % len(held)]] ^= 1 << bit
    home = tmp_path / f"{place % len(held)}-{bit}"
    home.mkdir(exist_ok=True)
    (home / "relay.db").write_bytes(data)
    try:
        store = Store.at(home)
        store.verify()
        found = [store.load(run) for run in ("r-0001", "r-0002")]
    except (StoreCorrupt, SchemaError) as error:
        assert "\n" not in str(error)
        return
    (home / "relay.db").write_bytes(whole.read_bytes())
    assert found == [Store.at(home).load(run) for run in ("r-0001", "r-0002")]


def test_a_table_whose_making_is_damaged_is_noticed(tmp_path: Path) -> None:
    two_runs(tmp_path)
    data = (tmp_path / "relay.db").read_bytes()
    assert data.count(b"reserved_s FLOAT") == 1
    (tmp_path / "relay.db").write_bytes(data.replace(b"reserved_s FLOAT", b"reserved_c FLOAT"))
    with pytest.raises(StoreCorrupt, match="the table quota is not made as relay makes it"):
        Store.at(tmp_path).verify()


# --- removed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call", [lambda s: s.change_tokens(), lambda s: s.append("r-0001", [RunCancelled()], AT), lambda s: s.lease()]
)
def test_a_database_that_is_removed_is_missed_and_no_empty_one_takes_its_place(
    tmp_path: Path, call: Callable[[Store], object]
) -> None:
    two_runs(tmp_path)
    store = Store.at(tmp_path)
    (tmp_path / "relay.db").unlink()
    with pytest.raises(StoreGone, match=r"relay\.db was removed: relay restore brings back the newest backup"):
        call(store)
    assert not (tmp_path / "relay.db").exists()


def test_a_lease_keeper_whose_database_is_gone_says_so_to_its_daemon(tmp_path: Path) -> None:
    two_runs(tmp_path)
    with pytest.raises(StoreGone), LeaseKeeper(Store.at(tmp_path), VirtualClock(AT), lasts_s=0.04) as keeper:
        (tmp_path / "relay.db").unlink()
        keeper._thread.join(10)
        _ = keeper.fence


def test_a_run_can_be_written_in_the_place_of_what_is_damaged(tmp_path: Path) -> None:
    two_runs(tmp_path)
    change(tmp_path, DAMAGE["a fact that is deleted"])
    store = Store.at(tmp_path)
    store.begin_run(BEGUN, AT, later=[(AT, PLANNED)], instead=True)
    assert len(store.load("r-0001").sessions) == 1
    assert store.load("r-0002").run.id == "r-0002"
    assert defects(tmp_path / "relay.db") == []
