"""The home folder is lost at any moment: what is on Kaggle is found, the run is made again, and it ends the same."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.core.plan import parse_key, parse_run, slug_of
from orchestrator.engine.adopt.command import Adoption
from orchestrator.engine.home import HomeLayout
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan, PushAction, PushFault
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from orchestrator.rehearsal.simulation.chain import RUN, Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.crash_injection import Crash, CrashPoint
from orchestrator.rehearsal.simulation.sessions import died, failing, hung
from state import machine
from state.facts.run import RunResumed
from state.facts.session import PushConfirmed
from state.memory_store import MemoryStore
from state.model.run_state import RunState
from state.model.statuses import CheckpointStatus, Phase, RunStatus
from state.store import Store
from tests.simulation.pipelines import expected_digest, pipeline

SHORT = "session: {limit_s: 500, margin_s: 100, save_interval_s: 100}"
"""Seven sessions."""


def dataset_chain(folder: Path) -> Chain:
    """Sessions that yield, one killed at its limit and one that gains nothing and is tried again; old checkpoints go."""

    def play(order, played, index):  # type: ignore[no-untyped-def]
        if index == 2:
            return hung(played, 400)
        return failing(order, died(played, 20.0), 20.0, "network", transient=True) if index == 4 else played

    return Chain(SimulatedKaggle(pipeline(session=SHORT, keep="keep_checkpoints: 2"), play=play), folder)


def output_chain(folder: Path) -> Chain:
    """Each session mounts the last kernel's output; datasets follow at leisure."""
    return Chain(
        SimulatedKaggle(pipeline(session=SHORT, handoff="handoff: kernel-output", keep="keep_checkpoints: 2")), folder
    )


def adoption(chain: Chain, home: Path, known: tuple[str, ...] = ()) -> Adoption:
    gateway = DirectGateway(chain.kaggle.world)
    return Adoption(gateway, HomeLayout(home), chain.kaggle.clock, known, lambda: Store.at(home))


def moved(chain: Chain, home: Path, path: Path | None = None, store: Store | MemoryStore | None = None) -> list[str]:
    """The chain on a new home folder that was made from Kaggle's side alone; what adopting said."""
    told: list[str] = []
    opened: list[Store | MemoryStore] = []

    def open_store() -> Store | MemoryStore:
        opened.append(store or Store.at(home))
        return opened[0]

    replace(adoption(chain, home), store=open_store).adopt(RUN, path, told.append)  # type: ignore[arg-type]
    chain.home, chain.store = HomeLayout(home), opened[0]
    assert machine.fold(chain.store.facts(RUN)) == chain.state
    return told


def assert_undisturbed(chain: Chain, state: RunState, where: str) -> None:
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline), where
    assert set(chain.kaggle.started.values()) == {1}, f"{where}: {chain.kaggle.started}"
    assert machine.fold(chain.store.facts(RUN)) == state, where


def stopped(chain: Chain, until: Callable[[RunState], bool]) -> None:
    """Turns until something holds; then the laptop is gone."""
    for _ in chain.ticks():
        if until(chain.state):
            return
    raise AssertionError("it never came to that")


def in_phase(phase: Phase, number: int) -> Callable[[RunState], bool]:
    return lambda state: any((s.phase, s.number) == (phase, number) for s in state.sessions)


QUICK = (Phase.RUNNING,)
ON_KAGGLE = [p for p in Phase if p not in (Phase.PLANNED, Phase.PUSHING, Phase.LOST, Phase.NO_CHECKPOINT)]


@pytest.mark.parametrize("phase", [pytest.param(p, marks=[] if p in QUICK else [pytest.mark.slow]) for p in ON_KAGGLE])
@pytest.mark.parametrize("make", [dataset_chain, output_chain])
def test_a_home_lost_in_any_phase_is_made_again_and_the_run_ends_the_same(
    make: Callable[[Path], Chain], phase: Phase
) -> None:
    for number in (3,) if phase in QUICK else (1, 3):
        with fast_folder() as folder:
            chain = make(folder / "old")
            stopped(chain, in_phase(phase, number))
            moved(chain, folder / "new", store=None if phase in QUICK else MemoryStore())
            assert_undisturbed(chain, chain.drive(), f"lost when session {number} was {phase}")


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(4))
@pytest.mark.parametrize("make", [dataset_chain, output_chain])
def test_a_home_lost_at_any_boundary_is_made_again_and_the_run_ends_the_same(
    make: Callable[[Path], Chain], shard: int
) -> None:
    counter = CrashPoint()
    with fast_folder() as folder:
        make(folder).drive(counter)
    adopted = 0
    for at in range(20 + 11 * shard, counter.passed, 44):
        with fast_folder() as folder:
            chain = make(folder / "old")
            with pytest.raises(Crash):
                chain.drive(CrashPoint(at))
            if not chain.kaggle.world.kernels.all():
                continue
            moved(chain, folder / "new", store=MemoryStore())
            adopted += 1
            assert_undisturbed(chain, chain.drive(), f"lost at boundary {at} of {counter.passed}")
    assert adopted > 3


@pytest.mark.slow
def test_a_home_lost_in_the_second_attempt_is_made_again() -> None:
    with fast_folder() as folder:
        chain = dataset_chain(folder / "old")
        stopped(chain, lambda state: bool(state.last and state.last.attempt == 2 and state.last.phase is Phase.RUNNING))
        before = chain.state
        moved(chain, folder / "new")
        assert [s.key for s in chain.state.sessions] == [s.key for s in before.sessions]
        assert [s.outcome for s in chain.state.sessions] == [s.outcome for s in before.sessions]
        assert_undisturbed(chain, chain.drive(), "lost in the second attempt")


@pytest.mark.slow
def test_what_is_made_again_is_what_was_lost() -> None:
    with fast_folder() as folder:
        chain = dataset_chain(folder / "old")
        lost, metrics = chain.drive(), chain.store.metrics(RUN)
        moved(chain, folder / "new")
        again = chain.state
        assert again.run.status is RunStatus.FINISHED
        assert again.run.created_at == lost.run.created_at
        assert (again.run.pipeline, again.run.pipeline_digest) == (lost.run.pipeline, lost.run.pipeline_digest)
        told = ("key", "slug", "token", "start", "parent", "kernel_version", "outcome", "cause", "reached", "furthest",
                "steps_lost", "checkpoint", "phase")  # fmt: skip
        for before, after in zip(lost.sessions, again.sessions, strict=True):
            assert [getattr(after, name) for name in told] == [getattr(before, name) for name in told]
        assert [(c.name, c.digest, c.status) for c in again.checkpoints] == [
            (c.name, c.digest, c.status) for c in lost.checkpoints
        ]
        assert chain.store.metrics(RUN) == metrics


def test_the_checkpoints_that_are_kept_come_home_and_older_ones_count_as_pruned() -> None:
    with fast_folder() as folder:
        chain = dataset_chain(folder / "old")
        stopped(chain, lambda state: any(c.status is CheckpointStatus.PRUNED for c in state.checkpoints))
        moved(chain, folder / "new")
        kept = [c for c in chain.state.checkpoints if c.usable]
        assert 1 <= len(kept) < len(chain.state.checkpoints)
        for checkpoint in kept:
            here = chain.home.checkpoint(RUN, checkpoint.name)
            assert (here / "manifest.json").read_text(encoding="utf-8") == checkpoint.manifest
            assert (here / "state.bin").stat().st_size == checkpoint.size_bytes
        pruned = [c for c in chain.state.checkpoints if not c.usable]
        assert {c.status for c in pruned} == {CheckpointStatus.PRUNED}


def test_a_listing_that_shows_nothing_hides_no_session() -> None:
    class Forgetful(DirectGateway):
        def list_kernels(self, prefix: str) -> tuple[str, ...]:
            return ()

        def list_datasets(self, prefix: str) -> tuple[str, ...]:
            return ()

    with fast_folder() as folder:
        chain = dataset_chain(folder / "old")
        stopped(chain, lambda state: len(state.sessions) == 6)
        sessions = [s.key for s in chain.state.sessions if s.phase.on_kaggle or s.phase.over]
        home = folder / "new"
        found = Adoption(
            Forgetful(chain.kaggle.world), HomeLayout(home), chain.kaggle.clock, (), lambda: Store.at(home)
        )
        found.adopt(RUN, None, lambda _line: None)
        assert [s.key for s in Store.at(home).load(RUN).sessions] == sessions


@pytest.mark.slow
def test_kernels_that_were_tidied_away_are_told_by_their_checkpoints() -> None:
    with fast_folder() as folder:
        chain = dataset_chain(folder / "old")
        stopped(chain, in_phase(Phase.PUBLISHED, 3))
        newest = chain.state.last
        assert newest is not None
        chain.kaggle.world.delete_kernel("me", newest.slug)
        moved(chain, folder / "new")
        assert chain.state.head is not None
        assert chain.state.head.name == newest.checkpoint
        assert_undisturbed(chain, chain.drive(), "without the newest kernel")


@pytest.mark.slow
def test_a_push_that_was_declined_is_no_session() -> None:
    with fast_folder() as folder:
        chain = Chain(SimulatedKaggle(pipeline(session=SHORT)), folder / "old")
        stopped(chain, in_phase(Phase.PUBLISHED, 1))
        save = chain.kaggle.world.kernels.find("me", slug_of(RUN, 1, 1)).newest.save
        rival = replace(save, slug="me/rival-0001", title="rival-0001")
        with chain.kaggle.world.at_now() as now:  # the user's own session takes the only slot
            chain.kaggle.world.kernels.save(rival, now, {})
        stopped(chain, lambda state: bool(state.last and state.last.number == 2 and state.last.reason))
        assert chain.kaggle.world.kernels.exists("me", slug_of(RUN, 2, 1)), "its source was kept"
        moved(chain, folder / "new")
        assert [s.key for s in chain.state.sessions] == [(1, 1)]
        chain.kaggle.world.delete_kernel("me", "rival-0001")
        state = chain.drive()
        assert final_digest(state) == expected_digest(chain.kaggle.pipeline)


@pytest.mark.slow
def test_a_person_who_went_on_from_an_older_checkpoint_is_remembered() -> None:
    with fast_folder() as folder:
        chain = Chain(SimulatedKaggle(pipeline(session=SHORT)), folder / "old")
        stopped(chain, in_phase(Phase.PUBLISHED, 3))
        now = chain.kaggle.clock.now()
        chain.store.request(RUN, "pause", {}, now)
        chain.store.request(RUN, "resume", {"checkpoint": f"{RUN}-c0001"}, now)
        stopped(chain, in_phase(Phase.RUNNING, 4))
        moved(chain, folder / "new")
        assert [fact for _, fact in chain.store.facts(RUN) if isinstance(fact, RunResumed)] == [
            RunResumed(checkpoint=f"{RUN}-c0001")
        ]
        abandoned = [c.name for c in chain.state.checkpoints if c.status is CheckpointStatus.ABANDONED]
        assert abandoned == [f"{RUN}-c0002", f"{RUN}-c0003"]
        assert_undisturbed(chain, chain.drive(), "after going back")


def test_a_run_that_is_here_already_is_refused_and_one_that_is_not_on_kaggle_names_those_that_are() -> None:
    with fast_folder() as folder:
        chain = Chain(SimulatedKaggle(pipeline()), folder / "old")
        stopped(chain, in_phase(Phase.RUNNING, 1))
        with pytest.raises(BadInput, match=r"is in .* already: relay daemon continues it"):
            adoption(chain, folder / "old", (RUN,)).adopt(RUN, None, print)
        with pytest.raises(BadInput, match=f"no kernel of gsm-3f9a .* the runs there are {RUN}"):
            adoption(chain, folder / "new").adopt("gsm-3f9a", None, print)
        with pytest.raises(BadInput, match="cannot be a run's name"):
            adoption(chain, folder / "new").adopt("../old", None, print)
        assert not (folder / "new").exists()


def test_the_list_says_which_runs_this_home_lacks() -> None:
    with fast_folder() as folder:
        chain = Chain(SimulatedKaggle(pipeline()), folder / "old")
        stopped(chain, in_phase(Phase.RUNNING, 1))
        with chain.kaggle.world.at_now() as now:  # a kernel of the user's own whose name only looks like a run's
            chain.kaggle.world.kernels.save(Save(slug="me/cats-s0001", text="print()", title="cats-s0001"), now, {})
        told: list[str] = []
        adoption(chain, folder / "new").list(told.append)
        adoption(chain, folder / "old", (RUN,)).list(told.append)
        assert told == [
            f"{RUN}  1 kernel  not in this home: relay adopt {RUN}",
            f"{RUN}  1 kernel  is in this home",
        ]


def test_a_kernel_of_another_run_under_the_name_is_refused_and_nothing_is_created() -> None:
    with fast_folder() as folder:
        chain = Chain(SimulatedKaggle(pipeline()), folder / "old")
        stopped(chain, in_phase(Phase.RUNNING, 1))
        with chain.kaggle.world.at_now() as now:
            chain.kaggle.world.kernels.save(Save(slug=f"me/{RUN}-s0002", text="mine", title=f"{RUN}-s0002"), now, {})
        with pytest.raises(BadInput, match=f"{RUN}-s0002 was not made by relay"):
            adoption(chain, folder / "new").adopt(RUN, None, print)
        assert not (folder / "new").exists()


def older(chain: Chain) -> None:
    """The kernels as a relay wrote them whose orders held neither the run's beginning nor its whole pipeline."""
    for kernel in chain.kaggle.world.kernels.all():
        for version in kernel.versions:
            lines = version.save.text.splitlines(keepends=True)
            index = next(i for i, line in enumerate(lines) if line.startswith("ORDER = "))
            order = json.loads(eval(lines[index].removeprefix("ORDER = ")))
            del order["created_at"], order["pipeline_rest"]
            lines[index] = f"ORDER = {json.dumps(order, sort_keys=True)!r}\n"
            version.save = replace(version.save, text="".join(lines))


@pytest.mark.slow
def test_a_run_of_an_older_relay_asks_for_the_file_of_its_pipeline() -> None:
    with fast_folder() as folder:
        chain = Chain(SimulatedKaggle(pipeline(session=SHORT)), folder / "old")
        stopped(chain, in_phase(Phase.RUNNING, 2))
        older(chain)
        with pytest.raises(BadInput, match=r"an older relay .* name its file with --pipeline"):
            moved(chain, folder / "new")
        path = folder / "sim.yaml"
        path.write_text(as_yaml(chain.kaggle.pipeline).replace('"seed": 0', '"seed": 1'), encoding="utf-8")
        with pytest.raises(BadInput, match="is not the pipeline that"):
            moved(chain, folder / "new", path)
        assert not (folder / "new").exists()
        path.write_text(as_yaml(chain.kaggle.pipeline), encoding="utf-8")
        moved(chain, folder / "new", path)
        assert_undisturbed(chain, chain.drive(), "with the pipeline's file")


def as_yaml(pipeline: Pipeline) -> str:
    """JSON is YAML; without what relay fills in itself."""
    plain = json.loads(pipeline.canonical())
    del plain["sources"], plain["inputs"], plain["environment"]
    return json.dumps(plain)


def test_every_adopted_session_says_that_it_was_found() -> None:
    with fast_folder() as folder:
        chain = dataset_chain(folder / "old")
        stopped(chain, in_phase(Phase.RUNNING, 3))
        told = moved(chain, folder / "new")
        confirmed = [fact for _, fact in chain.store.facts(RUN) if isinstance(fact, PushConfirmed)]
        assert confirmed and all(fact.adopted for fact in confirmed)
        assert any("Kaggle cannot tell whether it had been paused or cancelled" in line for line in told)


@pytest.mark.parametrize(("number", "attempt"), [(1, 1), (7, 2), (12345, 26), (3, 27)])
def test_a_kernels_name_says_which_session_it_is(number: int, attempt: int) -> None:
    slug = slug_of(RUN, number, attempt)
    assert parse_key(RUN, "s", slug) == (number, attempt)
    assert parse_run(slug) == RUN
    assert parse_key("sim", "s", slug) is None


@pytest.mark.slow
def test_a_version_that_never_ran_hides_no_session() -> None:
    """Kaggle's newest version of a kernel is not the one whose session left the checkpoint."""
    faults = FaultPlan(pushes=tuple(PushFault(push=n, action=PushAction.PHANTOM) for n in (1, 2, 3)))
    with fast_folder() as folder:
        chain = Chain(SimulatedKaggle(pipeline(session=SHORT), faults=faults), folder / "old")
        stopped(chain, in_phase(Phase.RUNNING, 3))
        told = chain.store.metrics(RUN, session=(1, 1))
        moved(chain, folder / "new")
        assert len(chain.state.sessions) == 3
        assert chain.store.metrics(RUN, session=(1, 1)) == told != []
        assert_undisturbed(chain, chain.drive(), "lost beside versions that never ran")
