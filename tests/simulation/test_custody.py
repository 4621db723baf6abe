"""Damage anywhere on a checkpoint's way is found, kept aside and mended; else the newest older checkpoint is gone on from."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.base.disk import RESERVE_BYTES
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, DatasetAction, DatasetFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.simulation.chain import Chain, fast_folder, final_digest
from orchestrator.rehearsal.simulation.crash_injection import Crash, CrashPoint
from orchestrator.views.document import status_document
from stages.contract import MANIFEST_NAME, Cursor, FileEntry, Manifest, Order
from state.facts.checkpoint import DamageFound
from state.facts.session import OutputCollected
from state.model.run_state import RunState
from state.model.statuses import CheckpointStatus, Phase, RunStatus
from tests.simulation.pipelines import expected_digest, pipeline
from tests.simulation.verifying import (
    Verifying,
    drive_until,
    facts,
    flipped,
    lose_output,
    refusing,
    rot,
    sealed,
    spoil_dataset,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def assert_whole(chain: Chain, state: RunState) -> None:
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert set(chain.kaggle.started.values()) == {1}, chain.kaggle.started
    digests = {c.name: c.digest for c in state.checkpoints}
    for session in state.sessions:
        if session.checkpoint:
            parent = digests[session.parent] if session.parent else None
            assert state.checkpoint(session.checkpoint).parent == parent


def damage(chain: Chain) -> list[DamageFound]:
    return [fact for fact in facts(chain, "damage_found") if isinstance(fact, DamageFound)]


def kept(chain: Chain) -> list[str]:
    return sorted(path.name for path in chain.home.quarantine(chain.run).glob("*"))


def collected(chain: Chain) -> str:
    """Drive until a checkpoint is on this disk; its name."""
    fact = drive_until(chain, "output_collected")
    assert isinstance(fact, OutputCollected)
    return fact.checkpoint


# --- the dataset ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("spoilt", [(1,), (1, 2), (2,)], ids=str)
def test_a_dataset_that_went_bad_is_made_again_and_nobody_is_asked(folder: Path, spoilt: tuple[int, ...]) -> None:
    faults = FaultPlan(datasets=tuple(DatasetFault(version=n, action=DatasetAction.SPOIL) for n in spoilt))
    chain = Chain(Verifying(pipeline(), faults=faults), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert len(facts(chain, "checkpoint_withdrawn")) == len(spoilt)
    assert not facts(chain, "run_parked")
    assert {(fact.place, fact.file) for fact in damage(chain)} == {("dataset", "state.bin")}
    assert kept(chain) == sorted(fact.kept for fact in damage(chain))


def test_a_dataset_whose_state_went_bad_is_made_again_after_one_session_that_refused_it(folder: Path) -> None:
    chain = Chain(Verifying(pipeline()), folder)
    drive_until(chain, "checkpoint_published")
    name = chain.state.checkpoints[0].name
    spoil_dataset(chain, name)
    state = chain.drive()
    assert_whole(chain, state)
    assert [s.cause for s in state.sessions] == ["", "parent-corrupt", "", ""]
    assert len(facts(chain, "checkpoint_withdrawn")) == 1
    assert kept(chain)[0].startswith(f"{name}.state.bin.")


@pytest.mark.parametrize(("cause", "transient"), [("parent-missing", True), ("parent-mismatch", False)])
def test_a_parent_that_is_twice_not_found_is_looked_at_before_a_person_is_asked(
    folder: Path, cause: str, transient: bool
) -> None:
    def play(order: Order, played: Played, index: int) -> Played:
        return refusing(order, cause, transient=transient) if index > 1 else played

    chain = Chain(Verifying(pipeline(), play=play), folder)
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    names = [fact.name for _, fact in chain.store.facts(chain.run)]
    assert names.index("checkpoint_inspected") < names.index("run_parked")
    assert names.count("checkpoint_withdrawn") == 0
    assert cause in state.run.reason


def test_a_checkpoint_that_arrives_damaged_though_it_is_whole_is_looked_at_each_time_and_asks_a_person(
    folder: Path,
) -> None:
    chain = Chain(
        Verifying(pipeline(), play=lambda o, played, n: refusing(o, "parent-corrupt") if n > 1 else played), folder
    )
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert "failed twice at the same step" in state.run.reason
    assert len(facts(chain, "checkpoint_inspected")) == 2
    assert len(state.sessions) == 3


def test_a_kaggle_that_spoils_every_dataset_does_not_hold_the_run_up_for_ever(folder: Path) -> None:
    faults = FaultPlan(datasets=tuple(DatasetFault(version=n, action=DatasetAction.SPOIL) for n in range(1, 50)))
    chain = Chain(Verifying(pipeline(), faults=faults), folder)
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert len(state.sessions) <= 6


@pytest.mark.slow
def test_a_dataset_that_went_bad_with_no_whole_copy_left_is_given_up_and_an_older_one_gone_on_from(
    folder: Path,
) -> None:
    chain = Chain(Verifying(pipeline(session="session: {limit_s: 500, margin_s: 50, save_interval_s: 200}")), folder)
    drive_until(chain, "checkpoint_published")
    older, bad = chain.state.checkpoints[0].name, ""
    for tick in chain.ticks():
        if any(fact.name == "checkpoint_published" for fact in tick.facts):
            bad = chain.state.checkpoints[1].name
            break
    spoil_dataset(chain, bad)
    rot(chain.home.checkpoint(chain.run, bad) / "state.bin")
    lose_output(chain, chain.state.sessions[1].slug)
    state = chain.drive()
    assert_whole(chain, state)
    assert state.checkpoint(bad).status is CheckpointStatus.DAMAGED
    given_up = state.sessions[1]
    assert (given_up.phase, given_up.cause, given_up.checkpoint) == (Phase.NO_CHECKPOINT, "checkpoint-damaged", None)
    assert given_up.steps_lost > 0
    assert [s.parent for s in state.sessions[2:4]] == [bad, older]


def test_the_next_session_mounts_the_dataset_where_the_kernels_output_arrived_damaged(folder: Path) -> None:
    def play(order: Order, played: Played, index: int) -> Played:
        return refusing(order, "parent-corrupt") if index == 2 else played

    faults = FaultPlan(datasets=(DatasetFault(version=1, action=DatasetAction.SLOW, seconds=4000.0),))
    chain = Chain(Verifying(pipeline(handoff="handoff: kernel-output"), faults=faults, play=play), folder)
    state = chain.drive()
    assert_whole(chain, state)
    third = state.sessions[2]
    assert third.parent is not None
    assert f"me/{third.parent}" in chain.kaggle.mounted[2]


# --- this disk -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("file", ["state.bin", MANIFEST_NAME])
@pytest.mark.parametrize("how", [rot, Path.unlink], ids=["rot", "gone"])
def test_a_copy_that_went_bad_on_this_disk_is_fetched_again_before_it_is_published(
    folder: Path, file: str, how: Callable[[Path], object]
) -> None:
    chain = Chain(Verifying(pipeline()), folder)
    name = collected(chain)
    how(chain.home.checkpoint(chain.run, name) / file)
    state = chain.drive()
    assert_whole(chain, state)
    assert not facts(chain, "checkpoint_withdrawn")
    (found,) = damage(chain)
    assert (found.checkpoint, found.file, found.place) == (name, file, "disk")
    assert kept(chain) == ([found.kept] if how is rot else [])


@pytest.mark.slow
def test_a_copy_that_is_whole_nowhere_is_marked_and_the_run_goes_on_from_the_older_one(folder: Path) -> None:
    chain = Chain(Verifying(pipeline()), folder)
    first = collected(chain)
    second = collected(chain)
    rot(chain.home.checkpoint(chain.run, second) / "state.bin")
    lose_output(chain, chain.state.sessions[1].slug)
    state = chain.drive()
    assert_whole(chain, state)
    assert state.checkpoint(second).status is CheckpointStatus.DAMAGED
    assert state.sessions[2].parent == first
    assert state.sessions[2].key == (2, 2)
    assert "has no intact copy, neither on this disk nor on Kaggle" in state.sessions[1].reason


@pytest.mark.slow
def test_the_first_checkpoint_that_is_whole_nowhere_costs_its_steps_and_no_more(folder: Path) -> None:
    chain = Chain(Verifying(pipeline()), folder)
    name = collected(chain)
    rot(chain.home.checkpoint(chain.run, name) / "state.bin")
    lose_output(chain, chain.state.sessions[0].slug)
    state = chain.drive()
    assert_whole(chain, state)
    assert state.sessions[1].parent is None


def test_a_checkpoint_that_came_back_wrong_from_kaggle_too_is_not_published(folder: Path) -> None:
    chain = Chain(Verifying(pipeline()), folder)
    name = collected(chain)
    path = chain.home.checkpoint(chain.run, name) / "state.bin"
    rot(path)
    with chain.kaggle.world.at_now() as now:
        session = chain.kaggle.world.kernels.session("me", chain.state.sessions[0].slug, "")
        assert session is not None
        for file, content in session.files.items():
            if file.endswith("state.bin"):
                session.files[file] = type(content).of_bytes(flipped(content.read(), 9), now)
    state = chain.drive()
    assert_whole(chain, state)
    assert state.checkpoint(name).status is CheckpointStatus.DAMAGED
    assert {found.place for found in damage(chain)} == {"disk", "output"}


# --- the output ----------------------------------------------------------------


def changing(change: Callable[[str, bytes], bytes], session: int = 1) -> Callable[[Order, Played, int], Played]:
    """Of one session, what it leaves is changed, as if it had written it so: its seals fit."""

    def play(order: Order, played: Played, index: int) -> Played:
        if index != session:
            return played
        return replace(played, files=sealed([(at_s, path, change(path, data)) for at_s, path, data in played.files]))

    return play


def newest(played_path: str) -> bool:
    return "one-00000084" in played_path


@pytest.mark.slow
def test_what_does_not_fit_its_manifest_is_kept_aside_and_the_next_older_one_taken(folder: Path) -> None:
    play = changing(lambda path, data: flipped(data) if newest(path) and path.endswith("state.bin") else data)
    chain = Chain(Verifying(pipeline(), play=play), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert state.sessions[0].reached == Cursor(stage="one", step=80)
    assert state.sessions[0].steps_lost == 4
    assert [found.place for found in damage(chain)] == ["output", "output"], "it was fetched twice"
    assert kept(chain) == sorted(found.kept for found in damage(chain))
    bytes_kept = (chain.home.quarantine(chain.run) / kept(chain)[0]).read_bytes()
    assert json.loads(flipped(bytes_kept))["digest"]


def test_what_was_only_damaged_on_its_way_is_fetched_again_and_costs_no_step(folder: Path) -> None:
    faults = FaultPlan(calls=(CallFault(call="OutputFile", action=CallAction.FLIP, after_bytes=20, nth=3, times=2),))
    chain = Chain(Verifying(pipeline(), faults=faults), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert [session.steps_lost for session in state.sessions] == [0, 0, 0]
    assert damage(chain)


@pytest.mark.slow
def test_a_checkpoint_that_names_another_parent_than_the_sessions_is_not_taken(folder: Path) -> None:
    def other_parent(path: str, data: bytes) -> bytes:
        if not path.endswith(MANIFEST_NAME):
            return data
        return replace(Manifest.from_json(data), parent="f" * 64).to_json().encode()

    chain = Chain(Verifying(pipeline(), play=changing(other_parent, session=2)), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert state.sessions[1].checkpoint is None
    assert state.sessions[2].key == (2, 2)
    assert "names the parent ffff" in damage(chain)[0].problem


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("which the pipeline does not have", lambda m: replace(m, cursor=Cursor(stage="ten", step=1))),
        ("which the pipeline does not have", lambda m: replace(m, cursor=Cursor(stage="one", step=101))),
        ("another session's", lambda m: replace(m, session=m.session + 1)),
        ("another session's", lambda m: replace(m, token="guessed")),
        ("would overwrite", lambda m: replace(m, files=(*m.files, _entry("STATE.bin")))),
        ("would overwrite", lambda m: replace(m, files=(*m.files, _entry("Manifest.json")))),
        ("no state.bin", lambda m: replace(m, files=())),
        (
            "cannot hold",
            lambda m: replace(m, files=(*m.files, FileEntry(path="a/b.bin", size_bytes=1, sha256="0" * 64))),
        ),
        (
            "promises 20,000,000,0",
            lambda m: replace(m, files=(replace(m.files[0], size_bytes=20 * 10**9), *m.files[1:], _entry("x.bin"))),
        ),
    ],
)
def test_a_manifest_that_cannot_be_the_sessions_is_not_taken_and_the_older_one_is(
    folder: Path, said: str, change: Callable[[Manifest], Manifest]
) -> None:
    def changed(path: str, data: bytes) -> bytes:
        if newest(path) and path.endswith(MANIFEST_NAME):
            return change(Manifest.from_json(data)).to_json().encode()
        return data

    chain = Chain(Verifying(pipeline(), play=changing(changed)), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert state.sessions[0].reached == Cursor(stage="one", step=80)
    assert said in damage(chain)[0].problem


def _entry(path: str) -> FileEntry:
    return FileEntry(path=path, size_bytes=10, sha256="0" * 64)


HOSTILE = ["../climbs", "/etc/passwd", "relay/" + "x" * 3000, "tensorboard/" + "y" * 300, "relay/con", "relay/a\nb"]


def test_names_that_no_file_may_have_are_reported_and_the_rest_of_the_output_is_used(folder: Path) -> None:
    def play(order: Order, played: Played, index: int) -> Played:
        return replace(played, files=[*played.files, *((5.0, name, b"x") for name in HOSTILE)])

    chain = Chain(Verifying(pipeline(), play=play), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert len(state.sessions) == 3
    assert [found.problem for found in damage(chain)].count("1 more files have names that cannot be used") == 3
    assert all(len(found.problem) < 500 and len(found.file) <= 80 for found in damage(chain))


@pytest.mark.slow
def test_a_session_that_left_only_names_that_cannot_be_used_left_nothing(folder: Path) -> None:
    def play(order: Order, played: Played, index: int) -> Played:
        return replace(played, files=[(5.0, name, b"x") for name in HOSTILE]) if index == 1 else played

    chain = Chain(Verifying(pipeline(), play=play), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert [s.key for s in state.sessions][:2] == [(1, 1), (1, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("names", [("tensorboard/a", "tensorboard/a/b"), ("tensorboard/a/b", "tensorboard/a")])
def test_curves_whose_names_are_each_others_folders_hold_nothing_up(folder: Path, names: tuple[str, str]) -> None:
    def play(order: Order, played: Played, index: int) -> Played:
        return replace(played, files=[*played.files, (5.0, names[index % 2], b"x")])

    chain = Chain(Verifying(pipeline(), play=play), folder)
    assert_whole(chain, chain.drive())


# --- room ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_full_disk_is_waited_for_and_named_with_how_much_is_missing(folder: Path) -> None:
    chain = Chain(Verifying(pipeline()), folder)
    chain.home = replace(chain.home, free_bytes=lambda _: 10)
    for _ in itertools.islice(chain.ticks(), 400):
        pass
    assert chain.state.run.status is RunStatus.ACTIVE, "however long it takes"
    failure = chain.store.snapshot(chain.run).watch.failure
    told = re.search(r"is full, ([\d,]+) bytes are missing: free some space", failure)
    assert told is not None, failure
    assert int(told[1].replace(",", "")) > RESERVE_BYTES - 10
    chain.home = replace(chain.home, free_bytes=lambda _: 10**9)
    assert_whole(chain, chain.drive())


def test_what_is_kept_aside_goes_before_a_checkpoint_finds_no_room(folder: Path) -> None:
    play = changing(lambda path, data: flipped(data) if newest(path) and path.endswith("state.bin") else data)
    chain = Chain(Verifying(pipeline(), play=play), folder)
    kept_here = chain.home.quarantine(chain.run)
    chain.home = replace(chain.home, free_bytes=lambda _: 0 if any(kept_here.glob("*")) else 10**9)
    state = chain.drive()
    assert_whole(chain, state)
    assert state.sessions[0].reached == Cursor(stage="one", step=80)


# --- what people see -------------------------------------------------------------


def test_damage_is_told_in_the_status(folder: Path) -> None:
    chain = Chain(Verifying(pipeline()), folder)
    name = collected(chain)
    rot(chain.home.checkpoint(chain.run, name) / "state.bin")
    chain.drive()
    document = status_document(chain.store, chain.home.path, chain.kaggle.clock.now())
    (told,) = document["runs"][0]["damage"]
    assert (told["checkpoint"], told["file"], told["place"]) == (name, "state.bin", "disk")
    assert (chain.home.quarantine(chain.run) / told["kept"]).exists()
    assert told["at"]


# --- crashes -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(2))
def test_killed_anywhere_while_a_dataset_is_made_again_the_chain_ends_the_same(shard: int) -> None:
    faults = FaultPlan(datasets=(DatasetFault(version=1, action=DatasetAction.SPOIL),))

    def chain(folder: Path) -> Chain:
        return Chain(Verifying(pipeline(), faults=faults), folder)

    counter = CrashPoint()
    with fast_folder() as folder:
        chain(folder).drive(counter)
    for at in range(7 * shard, counter.passed, 14):
        with fast_folder() as folder:
            killed = chain(folder)
            with suppress(Crash):  # a life may be shorter than that
                killed.drive(CrashPoint(at))
            state = killed.drive()
            assert final_digest(state) == expected_digest(killed.kaggle.pipeline), f"killed at {at}"
            assert set(killed.kaggle.started.values()) == {1}, f"killed at {at}: {killed.kaggle.started}"
            assert not facts(killed, "run_parked"), f"killed at {at}"
