"""Two home folders on one account: whoever comes second says who else works on the run, stops, and destroys nothing."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from orchestrator.engine.checkpoint_copies import CheckpointCopies
from orchestrator.engine.effects.unknown_sessions import TRIES
from orchestrator.platforms.port import DatasetSeen
from orchestrator.rehearsal.local_kaggle.datasets import Describe
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.clock_steps import YEAR
from orchestrator.rehearsal.simulation.invariants import InvariantBroken, Watched
from orchestrator.rehearsal.simulation.plans import ChainPlan, random_plan
from orchestrator.rehearsal.simulation.runner import Simulation, one
from orchestrator.rehearsal.simulation.second_home import CopyIdentity, HomeCopy, SecondHome
from orchestrator.views.fact_text import describe_fact
from state.facts.run import RunParked
from state.facts.session import SessionLost
from state.model.statuses import CheckpointStatus, RunStatus
from tests.simulation.pipelines import expected_digest, pipeline


def with_a_copy() -> Iterator[int]:
    """Seeds of chains that have a copy beside them, found out one by one."""
    return (seed for seed in range(1, 400) if random_plan(seed).copied)


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        (found / "home").mkdir()
        yield found


def copied_after(folder: Path, name: str, identity: CopyIdentity = CopyIdentity.OTHER_ID) -> tuple[Chain, SecondHome]:
    """A run, and a copy of its home folder made right after a fact of that name."""
    first = Chain(SimulatedKaggle(pipeline()), folder / "home", owned=identity is CopyIdentity.KNOWN)
    for tick in first.ticks():
        if any(fact.name == name for fact in tick.facts):
            break
    return first, SecondHome(first, folder / "copy", HomeCopy(after_ticks=0, identity=identity))


def drive_both(first: Chain, second: SecondHome) -> None:
    for _ in first.ticks():
        second.go_on(lambda tick: None)


@pytest.mark.slow
@pytest.mark.parametrize("identity", CopyIdentity)
@pytest.mark.parametrize(
    "name", ["session_planned", "push_intended", "seen_running", "output_collected", "publish_intended"]
)
def test_no_session_runs_twice_and_one_of_the_two_says_who_works_on_the_run(
    folder: Path, name: str, identity: CopyIdentity
) -> None:
    first, second = copied_after(folder, name, identity)
    drive_both(first, second)
    stopped = [chain for chain in (first, second.chain) if chain.state.run.status is RunStatus.PARKED]
    assert len(stopped) == 1
    run = stopped[0].state.run
    assert run.remedy == "relay resume sim-0001 --take-over"
    assert "home folder" in run.reason
    assert set(first.kaggle.started.values()) == {1}, first.kaggle.started
    (going,) = {first, second.chain} - set(stopped)
    while going.state.run.status is not RunStatus.FINISHED:
        second.go_on(lambda tick: None)
        first.kaggle.clock.sleep(60)
    assert final_digest(going.state) == expected_digest(pipeline())


def test_a_copy_that_knows_the_original_touches_nothing_on_kaggle(folder: Path) -> None:
    """Its database names the home folder that the run belongs to."""
    first, second = copied_after(folder, "output_collected", CopyIdentity.KNOWN)
    calls = first.kaggle.world.fault_injector.calls_made
    second.go_on(lambda tick: None)
    assert first.kaggle.world.fault_injector.calls_made == calls
    assert second.chain.state.run.status is RunStatus.PARKED
    assert f"belongs to the home folder {first.identity}" in second.chain.state.run.reason
    assert final_digest(first.drive()) == expected_digest(pipeline())


@pytest.mark.slow
def test_a_person_moves_a_run_to_another_home_folder_and_the_first_one_stops(folder: Path) -> None:
    first, second = copied_after(folder, "checkpoint_published")
    there = second.chain
    there.store.request(there.run, "resume", {"take_over": there.identity}, there.clock.now())
    for tick in there.ticks():
        if any(fact.name == "push_confirmed" for fact in tick.facts):
            break
    assert first.drive().run.status is RunStatus.PARKED
    assert f"made by the home folder {there.identity}" in first.state.run.reason
    assert final_digest(there.drive()) == expected_digest(pipeline())
    assert set(first.kaggle.started.values()) == {1}


@pytest.mark.parametrize("ahead", [timedelta(0), YEAR])
def test_it_can_be_taken_back_also_from_a_machine_whose_clock_was_ahead(folder: Path, ahead: timedelta) -> None:
    first, second = copied_after(folder, "checkpoint_published")
    there = second.chain
    there.store.request(there.run, "resume", {"take_over": there.identity}, there.clock.now() + ahead)
    for tick in there.ticks():
        if any(fact.name == "seen_ended" for fact in tick.facts):
            break
    first.drive()
    first.kaggle.clock.sleep(60)
    first.ask_remedy()
    assert final_digest(first.drive()) == expected_digest(pipeline())
    assert there.drive().run.status is RunStatus.PARKED
    assert set(first.kaggle.started.values()) == {1}


def test_a_restored_backup_that_finds_what_it_never_made_says_so(folder: Path) -> None:
    first, second = copied_after(folder, "session_planned", CopyIdentity.SAME_ID)
    first.drive()  # the original goes on, then its disk breaks
    restored = second.chain
    parked = restored.drive()
    assert parked.run.status is RunStatus.PARKED
    assert "was brought back from a backup" in parked.run.reason
    restored.ask_remedy()
    assert final_digest(restored.drive()) == expected_digest(pipeline())
    assert set(first.kaggle.started.values()) == {1}, "what ran already is adopted"


@pytest.mark.slow
def test_a_sound_checkpoint_of_other_bytes_is_never_deleted(folder: Path) -> None:
    chain = with_another_checkpoint(folder)
    (checkpoint,) = chain.state.checkpoints
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert state.run.remedy == "relay resume sim-0001 --take-over"
    chain.ask_remedy()
    state = chain.drive()
    assert final_digest(state) == expected_digest(pipeline())
    assert [d.slug for d in chain.kaggle.world.datasets.deleted] == [], "it is still there"
    assert state.checkpoints[0].place == f"{checkpoint.name}-n2"
    assert state.checkpoints[0].status in (CheckpointStatus.PUBLISHED, CheckpointStatus.PRUNED)


def with_another_checkpoint(folder: Path) -> Chain:
    """Another home folder, of a relay that left no marks, has published another checkpoint under the name of this one's."""
    chain = Chain(SimulatedKaggle(pipeline()), folder / "home")
    for tick in chain.ticks():
        if any(fact.name == "output_collected" for fact in tick.facts):
            break
    (checkpoint,) = chain.state.checkpoints
    other = Chain(
        SimulatedKaggle(pipeline(session="session: {limit_s: 1000, margin_s: 300, save_interval_s: 200}")), folder / "o"
    )
    for tick in other.ticks():
        if any(fact.name == "output_collected" for fact in tick.facts):
            break
    (theirs,) = other.state.checkpoints
    assert theirs.digest != checkpoint.digest
    source = other.home.checkpoint(other.run, theirs.name)
    with chain.kaggle.world.at_now() as now:
        files = {path.name: Content.of_bytes(path.read_bytes() + b"", now) for path in source.iterdir()}
        chain.kaggle.world.datasets.create("me", checkpoint.name, Describe(title=checkpoint.name), files, now)
    return chain


def test_nothing_is_pruned_that_another_home_folder_has_made(folder: Path) -> None:
    first, second = copied_after(folder, "checkpoint_published")
    there = second.chain
    there.store.request(there.run, "resume", {"take_over": there.identity}, there.clock.now())
    there.drive()
    first.store.request(first.run, "prune", {}, first.clock.now())
    first.drive()
    facts = [fact for _, fact in first.store.facts(first.run)]
    assert any(isinstance(fact, RunParked) for fact in facts)
    assert not first.kaggle.world.datasets.deleted


def apart(folder: Path) -> tuple[Chain, Chain]:
    """Two daemons of one id: the original has begun session 2, and the copy, which found no checkpoint, wants attempt 2 of 1."""
    first = Chain(SimulatedKaggle(pipeline(accelerator="accelerator: NvidiaTeslaT4")), folder / "home")
    until(first, "seen_ended")
    copy = SecondHome(first, folder / "copy", HomeCopy(after_ticks=0, identity=CopyIdentity.SAME_ID)).chain
    lost = SessionLost(number=1, attempt=1, reason="nothing came of it")
    copy.store.append(copy.run, [lost], copy.clock.now())
    until(first, "push_confirmed")
    return first, copy


def until(chain: Chain, name: str) -> None:
    for tick in chain.ticks():
        if any(fact.name == name for fact in tick.facts):
            return
    raise AssertionError(f"{name} never happened")


def test_two_daemons_of_one_id_that_begin_different_sessions_do_not_run_both(folder: Path) -> None:
    first, copy = apart(folder)
    until(copy, "run_parked")
    assert [session.slug for session in first.kaggle.world.kernels.live()] == ["sim-0001-s0002"]
    assert copy.state.run.remedy == "relay resume sim-0001 --take-over"
    assert "the kernel sim-0001-s0002 is on Kaggle already" in copy.state.run.reason
    assert final_digest(first.drive()) == expected_digest(pipeline())


@pytest.mark.slow
def test_whoever_takes_a_run_over_waits_for_what_the_other_one_started(folder: Path) -> None:
    first, copy = apart(folder)
    until(copy, "run_parked")
    copy.ask_remedy()
    until(copy, "push_held")
    waits = (
        "session 1 attempt 2 waits for session 2, which was pushed before the run was taken over: its kernel sim-0001-s0002 is "
        "running still"
    )
    assert [describe_fact(fact) for _, fact in copy.store.facts(copy.run) if fact.name == "push_held"] == [waits]
    assert copy.store.watch(copy.run).failure == waits
    assert "push_refused" not in {fact.name for _, fact in copy.store.facts(copy.run)}, "Kaggle declined nothing"
    until(copy, "push_confirmed")
    assert [session.slug for session in first.kaggle.world.kernels.live()] == ["sim-0001-s0001-b"]
    assert first.drive().run.status is RunStatus.PARKED
    assert final_digest(copy.drive()) == expected_digest(pipeline())


@pytest.mark.slow
@pytest.mark.parametrize("action", [CallAction.STATUS, CallAction.HTML])
def test_a_listing_that_cannot_be_had_holds_no_push_up_for_ever(folder: Path, action: CallAction) -> None:
    faults = FaultPlan(calls=(CallFault(call="ListKernels", action=action, status=500, times=10_000),))
    chain = Chain(SimulatedKaggle(pipeline(), faults=faults), folder / "home")
    state = chain.drive()
    assert final_digest(state) == expected_digest(pipeline())
    asked = sum(name.startswith("ListKernels") for name in chain.kaggle.world.fault_injector.struck)
    assert asked <= TRIES * len(state.sessions)


def test_a_kernel_of_another_run_of_the_same_name_holds_nothing_up(folder: Path) -> None:
    """As where a run was made anew: its kernels are called as those of the one before it."""
    earlier = Chain(SimulatedKaggle(pipeline()), folder / "earlier")
    earlier.drive()
    kernel = earlier.kaggle.world.kernels.all()[-1]
    later = SimulatedKaggle(pipeline())
    later.clock.sleep(3600)
    chain = Chain(later, folder / "home")
    with later.world.at_now() as now:
        save = Save(slug=kernel.ref, text=kernel.newest.save.text, title=kernel.slug, runs=False)
        later.world.kernels.save(save, now, {})
    until(chain, "push_confirmed")
    assert [session.slug for session in later.world.kernels.live()] == ["sim-0001-s0001"]


# --- drawn, and planted ------------------------------------------------------------


@pytest.mark.slow
def test_copies_of_both_kinds_are_drawn_at_many_points() -> None:
    copies = [plan.copied for plan in map(random_plan, range(1, 400)) if plan.copied]
    assert {copied.identity for copied in copies} == set(CopyIdentity)
    assert len({copied.after_ticks for copied in copies}) > 30


@pytest.mark.slow
def test_chains_with_a_copy_beside_them_keep_every_promise() -> None:
    assert [ended.broken for ended in map(one, islice(with_a_copy(), 12))] == [""] * 12


class Careless(Simulation):
    """Home folders without ids, as before."""

    def __init__(self, plan: ChainPlan, folder: Path) -> None:
        super().__init__(plan, folder)
        self.chain.identity = ""


def test_homes_without_ids_are_caught_by_the_simulator() -> None:
    """What relay did before: both daemons looked, neither found anything, and both pushed."""
    found: set[str] = set()
    for plan in map(random_plan, with_a_copy()):
        if plan.copied is None or plan.copied.identity is not CopyIdentity.KNOWN or plan.pipeline.slot == "tpu":
            continue
        with fast_folder() as folder:
            try:
                Careless(plan, folder).run()
            except AssertionError as error:
                found.add(str(error).partition(":")[0])
                break
    assert found <= {"at most one live session", "no order is pushed twice"}
    assert found


def old_deletion(custody: CheckpointCopies, seen: DatasetSeen) -> None:
    custody.gateway.delete_dataset(custody.checkpoint.place)


def test_a_home_that_deleted_what_differs_from_its_own_is_caught_by_the_simulator(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointCopies, "delete", old_deletion)
    chain = with_another_checkpoint(folder)
    watched = Watched(chain, sessions=len(chain.state.sessions))
    with pytest.raises(InvariantBroken, match=r"no sound checkpoint is deleted but by retention: me/sim-0001-c0001"):
        for tick in chain.ticks():
            watched.after(tick)
