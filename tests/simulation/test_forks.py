"""Simulated forks: the numbers of the uncut run, the parent's checkpoint held, nothing pushed twice."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.app import requests
from orchestrator.base.errors import BadInput
from orchestrator.core.commands import Wait
from orchestrator.engine.adopt.command import Adoption
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.tick import tick
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.crash_injection import Crash, CrashPoint
from state.facts.run import OriginFound
from state.model.run_origin import RunOrigin
from state.model.run_state import Checkpoint
from state.model.statuses import CheckpointStatus, Phase, RunStatus
from state.store import Store
from tests.simulation.pipelines import expected_digest, pipeline
from tests.simulation.test_taken_back import Wired, until

pytestmark = pytest.mark.slow

FORK = "sim-f0f0"


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def parent_in(folder: Path) -> Chain:
    """A run of nine sessions that keeps two checkpoints."""
    return Chain(
        SimulatedKaggle(
            pipeline(session="session: {limit_s: 400, margin_s: 40, save_interval_s: 90}", keep="keep_checkpoints: 2")
        ),
        folder / "parent",
    )


def advance(chain: Chain, checkpoints: int) -> Checkpoint:
    """Drive the chain until it has so many published checkpoints; return the newest."""
    for _ in chain.ticks():
        found = [c for c in chain.state.checkpoints if c.published_at is not None]
        if len(found) == checkpoints:
            return found[-1]
    raise AssertionError(f"only {len(chain.state.checkpoints)} checkpoints")


def fork_of(parent: Chain, left: Checkpoint, folder: Path, *, found: bool = True) -> Chain:
    """A fork that leaves the parent at this checkpoint, in the same database."""
    origin = RunOrigin(run=parent.run, cursor=left.cursor, keeps="history")
    if found:
        origin = replace(origin, checkpoint=left.name, digest=left.digest, dataset=left.place)
    return Chain(parent.kaggle, folder / "fork", run=FORK, store=parent.store, origin=origin)


def together(*chains: Chain) -> None:
    """One daemon that works on all of these runs until they are over."""
    store, clock = chains[0].store, chains[0].clock
    fence = store.take_lease("one daemon", clock.now(), 1e9, lambda _: False).fence
    shells = [chain.shell(chain.kaggle.gateway()) for chain in chains]
    for _ in range(5000):
        results = [tick(store, chain.run, shell, fence) for chain, shell in zip(chains, shells, strict=True)]
        waits = [result.command for result in results if isinstance(result.command, Wait)]
        if len(waits) == len(chains):
            untils = [wait.until for wait in waits if wait.until is not None]
            if not untils:
                return
            clock.sleep(max(0.0, (min(untils) - clock.now()).total_seconds()))
    raise AssertionError("they do not end")


def datasets(chain: Chain) -> set[str]:
    return {dataset.slug for dataset in chain.kaggle.world.datasets.all()}


def test_a_parent_keeps_the_checkpoint_of_a_fork_that_has_not_begun(folder: Path) -> None:
    parent = parent_in(folder)
    left = advance(parent, 1)
    fork = fork_of(parent, left, folder)
    ended = parent.drive()
    statuses = [c.status for c in ended.checkpoints]
    assert ended.run.status is RunStatus.FINISHED
    assert len(statuses) > 4
    assert statuses[0] is CheckpointStatus.PUBLISHED, "the fork needs it"
    assert CheckpointStatus.PRUNED in statuses, "others were pruned"
    state = fork.drive()
    assert final_digest(state) == final_digest(ended) == expected_digest(parent.kaggle.pipeline)
    assert state.sessions[0].start == left.cursor
    assert state.checkpoints[0].parent == left.digest
    assert set(parent.kaggle.started.values()) == {1}
    assert left.place in datasets(parent)
    own = {c.name for c in state.checkpoints} | {c.name for c in ended.checkpoints}
    assert datasets(parent) <= own | set(parent.kaggle.pipeline.dataset_sources)
    parent.store.request(parent.run, "prune", {}, parent.clock.now())
    parent.drive()
    assert parent.state.checkpoints[0].status is CheckpointStatus.PRUNED, "nobody needs it any more"


def test_forks_and_parent_take_turns_while_all_of_them_go_on(folder: Path) -> None:
    parent = parent_in(folder)
    left = advance(parent, 2)
    chains = [parent, fork_of(parent, left, folder)]
    together(*chains)
    for chain in chains:
        assert final_digest(chain.state) == expected_digest(parent.kaggle.pipeline)
    assert set(parent.kaggle.started.values()) == {1}


def test_a_run_that_waits_for_a_place_begins_once_the_checkpoint_is_published(folder: Path) -> None:
    reference = parent_in(folder / "reference")
    left = advance(reference, 2)
    parent = parent_in(folder)
    fork = fork_of(parent, left, folder, found=False)
    together(parent, fork)
    found = [fact for _, fact in fork.store.facts(FORK) if isinstance(fact, OriginFound)]
    assert [fact.digest for fact in found] == [parent.state.checkpoints[1].digest]
    assert final_digest(fork.state) == final_digest(parent.state)
    assert fork.state.sessions[0].start == left.cursor


def test_a_fork_of_a_cancelled_parent_without_that_checkpoint_is_parked(folder: Path) -> None:
    parent = parent_in(folder)
    left = advance(parent, 1)
    later = replace(left, cursor=replace(left.cursor, step=left.cursor.step + 1))
    fork = fork_of(parent, later, folder, found=False)
    parent.store.request(parent.run, "cancel", {}, parent.clock.now())
    parent.drive()
    state = fork.drive()
    assert state.run.status is RunStatus.PARKED
    assert state.run.remedy == f"relay cancel {FORK}"


@pytest.mark.parametrize("shard", range(3))
def test_a_fork_is_carried_on_wherever_its_daemon_dies(folder: Path, shard: int) -> None:
    for boundary in range(shard, 60, 7):
        with fast_folder() as root:
            parent = parent_in(root)
            fork = fork_of(parent, advance(parent, 1), root)
            parent.store.request(parent.run, "pause", {}, parent.clock.now())
            parent.drive()
            with suppress(Crash):
                fork.drive(CrashPoint(boundary))
            assert final_digest(fork.drive()) == expected_digest(parent.kaggle.pipeline), boundary
            assert set(parent.kaggle.started.values()) == {1}, boundary
            assert fork.state.checkpoints[0].parent == parent.state.checkpoints[0].digest, boundary


def test_a_lost_fork_is_rebuilt_from_kaggle_with_its_origin(folder: Path) -> None:
    for checkpoints in (0, 1):
        with fast_folder() as root:
            parent = parent_in(root)
            left = advance(parent, 1)
            parent.store.request(parent.run, "pause", {}, parent.clock.now())
            parent.drive()
            fork = fork_of(parent, left, root)
            for _ in fork.ticks():
                last = fork.state.last
                begun = last is not None and last.phase is Phase.RUNNING
                if begun and len([c for c in fork.state.checkpoints if c.published_at]) == checkpoints:
                    break
            before = fork.state
            home = root / "new"
            gateway = DirectGateway(parent.kaggle.world)
            Adoption(gateway, HomeLayout(home), parent.clock, (), lambda home=home: Store.at(home)).adopt(
                FORK, None, lambda _: None
            )
            found = Store.at(home).load(FORK)
            assert found.run.origin == before.run.origin
            assert [s.parent for s in found.sessions] == [s.parent for s in before.sessions]
            assert [c.parent for c in found.checkpoints] == [c.parent for c in before.checkpoints]
            fork.home, fork.store = HomeLayout(home), Store.at(home)
            assert final_digest(fork.drive()) == expected_digest(parent.kaggle.pipeline)
            assert set(parent.kaggle.started.values()) == {1}


def test_a_cancelled_fork_whose_parent_has_pruned_its_checkpoint_is_not_taken_back(folder: Path) -> None:
    parent = Chain(parent_in(folder).kaggle, folder, store=Store.at(folder))
    left = advance(parent, 1)
    fork, app = fork_of(parent, left, folder), Wired(parent)
    fork.store.request(FORK, "cancel", {}, fork.clock.now())
    fork.drive()
    parent.drive()
    assert parent.state.checkpoints[0].status is CheckpointStatus.PRUNED
    with pytest.raises(BadInput, match=f"the checkpoint one:{left.cursor.step} of {parent.run}"):
        requests.resume(app, FORK)


def test_a_fork_whose_parents_dataset_was_deleted_says_that_no_retry_publishes_it_again(folder: Path) -> None:
    parent = parent_in(folder)
    left = advance(parent, 1)
    fork = fork_of(parent, left, folder)
    until(fork, "session_planned")
    parent.kaggle.gateway().delete_dataset(left.place)
    state = fork.drive()
    assert state.run.status is RunStatus.PARKED
    assert "Kaggle does not accept these sources" in state.run.reason
    assert f"belongs to {parent.run}, and relay retry does not publish that one again" in state.run.reason
    assert f"type relay cancel {FORK} and begin another run" in state.run.reason
