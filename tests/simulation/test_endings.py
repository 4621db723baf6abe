"""How a session can end, and what follows."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.base.errors import Permanent
from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import DatasetSeen
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.simulation.chain import RUN, Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.sessions import died, failing, hung
from stages.contract import Order
from state.model.run_state import RunState
from state.model.statuses import CheckpointStatus, Outcome, RunStatus
from tests.simulation.pipelines import PIPELINE, expected_digest, pipeline


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def only(index: int, change: Callable[[Order, Played], Played]) -> Callable[[Order, Played, int], Played]:
    """Change the index-th session, leave the others alone."""
    return lambda order, played, now: change(order, played) if now == index else played


def outcomes(state: RunState) -> list[str]:
    return [f"{s.number}.{s.attempt} {s.outcome}" for s in state.sessions]


def assert_whole(chain: Chain, state: RunState) -> None:
    """The promises that hold for every chain that came to its end."""
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert set(chain.kaggle.started.values()) == {1}, chain.kaggle.started
    parents = {c.name: c for c in state.checkpoints}
    for session in state.sessions:
        if session.checkpoint and session.parent:
            assert parents[session.checkpoint].parent == parents[session.parent].digest


def test_a_quiet_run_goes_through_as_many_sessions_as_it_needs(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert outcomes(state) == ["1.1 yielded", "2.1 yielded", "3.1 finished"]
    assert [s.steps_lost for s in state.sessions] == [0, 0, 0]


def test_a_session_killed_at_the_limit_goes_on_from_its_last_checkpoint(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline(), play=only(2, lambda order, played: hung(played, 500))), folder)
    state = chain.drive()
    assert_whole(chain, state)
    timed_out = state.sessions[1]
    assert timed_out.outcome is Outcome.TIMED_OUT
    assert timed_out.steps_lost == 7
    assert state.sessions[2].parent == timed_out.checkpoint


def test_a_timed_out_session_asks_a_person_where_the_pipeline_says_so(folder: Path) -> None:
    kaggle = SimulatedKaggle(
        pipeline(timeout="on_timeout: park"), play=only(1, lambda order, played: hung(played, 500))
    )
    chain = Chain(kaggle, folder)
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert "stopped at its time limit; one step 40 is safe" in state.run.reason
    assert state.run.remedy == f"relay resume {state.run.id}"
    chain.store.request(state.run.id, "resume", {}, kaggle.clock.now())
    state = chain.drive()
    assert_whole(chain, state)
    assert state.sessions[1].start.step == 40


def test_a_person_can_go_on_from_an_older_checkpoint(folder: Path) -> None:
    kaggle = SimulatedKaggle(
        pipeline(timeout="on_timeout: park"), play=only(2, lambda order, played: hung(played, 500))
    )
    chain = Chain(kaggle, folder)
    state = chain.drive()
    older = state.checkpoints[0]
    chain.store.request(state.run.id, "resume", {"checkpoint": older.name}, kaggle.clock.now())
    state = chain.drive()
    assert state.sessions[2].parent == older.name
    assert state.checkpoints[1].status is CheckpointStatus.ABANDONED
    assert final_digest(state) == expected_digest(kaggle.pipeline)


def test_a_session_that_dies_without_notice_is_tried_again_under_its_own_number(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline(), play=only(1, lambda order, played: died(played, 100))), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert outcomes(state)[:2] == ["1.1 failed", "1.2 yielded"]
    assert state.sessions[1].slug.endswith("-s0001-b")
    assert state.sessions[0].steps_lost == 7


def test_a_session_that_dies_after_a_save_counts_what_it_saved(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline(), play=only(1, lambda order, played: died(played, 500))), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert outcomes(state)[:2] == ["1.1 failed", "2.1 yielded"]
    assert state.sessions[1].start.step == 40


def test_three_attempts_that_gain_nothing_ask_a_person(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline(), play=lambda order, played, index: died(played, 20)), folder)
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert state.run.reason.startswith("3 attempts made no progress")
    assert state.run.remedy == f"relay retry {state.run.id}"
    assert len(state.sessions) == 3


def test_attempts_wait_longer_each_time(folder: Path) -> None:
    def unlucky(order: Order, played: Played, index: int) -> Played:
        return failing(order, played, 20, "tpu-missing", transient=True)

    chain = Chain(SimulatedKaggle(pipeline(), play=unlucky), folder)
    first, second, third = chain.drive().sessions
    assert first.ended_at and second.ended_at
    assert third.planned_at - second.ended_at > second.planned_at - first.ended_at > timedelta(0)


def test_the_same_failure_at_the_same_step_twice_asks_a_person(folder: Path) -> None:
    def broken(order: Order, played: Played, index: int) -> Played:
        return failing(order, played, 305 if index == 1 else 105, "ValueError@one")

    chain = Chain(SimulatedKaggle(pipeline(), play=broken), folder)
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert "failed twice at the same step: it broke" in state.run.reason
    assert state.run.excerpt == "Traceback"
    assert len(state.sessions) == 2


def test_training_that_broke_is_not_tried_again_and_the_last_good_checkpoint_is_offered(folder: Path) -> None:
    chain = Chain(
        SimulatedKaggle(pipeline(), play=lambda order, played, index: failing(order, played, 305, "not-a-number")),
        folder,
    )
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert len(state.sessions) == 1
    (good,) = state.checkpoints
    assert state.run.reason == f"session 1 failed: it broke; the last good checkpoint is {good.name}, one step 20"
    assert state.run.remedy == f"relay retry {state.run.id} --pipeline sim.yaml --from-step one:20"


def test_training_that_breaks_at_its_first_step_offers_the_checkpoint_before_the_one_that_it_began_with(
    folder: Path,
) -> None:
    kaggle = SimulatedKaggle(pipeline(), play=only(2, lambda order, played: failing(order, played, 5, "not-a-number")))
    state = Chain(kaggle, folder).drive()
    assert len(state.sessions) == 2
    assert state.run.reason == "session 2 failed: it broke; there is no checkpoint from before"
    assert state.run.remedy == f"relay retry {state.run.id} --pipeline sim.yaml"


def test_two_sessions_without_a_step_ask_a_person(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline(), play=lambda order, played, index: hung(played, 10)), folder)
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert "two sessions gained no step" in state.run.reason
    assert len(state.sessions) == 2


def test_a_run_waits_for_quota_and_goes_on_by_itself(folder: Path) -> None:
    rules = Rules(queue_s=PerKind.all(60.0), quota_s=PerKind(1500.0, 0.0, 0.0))
    chain = Chain(SimulatedKaggle(pipeline(), rules=rules), folder)
    waited = [tick for tick in chain.ticks() if any(f.name == "run_waiting" for f in tick.facts)]
    assert len(waited) == 1
    state = chain.state
    assert_whole(chain, state)
    assert state.sessions[1].limit_s < 1000
    gap = state.sessions[2].planned_at - state.sessions[1].planned_at
    assert gap > timedelta(days=1)


def test_a_push_declined_for_want_of_a_slot_is_not_mistaken_for_a_session(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline())
    mine, other = Chain(kaggle, folder / "a"), Chain(kaggle, folder / "b", run="sim-0002")
    _take_the_slot(other)
    state = mine.drive()
    assert_whole(mine, state)
    assert any(fact.name == "push_refused" for _, fact in mine.store.facts(mine.run))


def _take_the_slot(chain: Chain) -> None:
    for _ in chain.ticks():
        if chain.state.last and chain.state.last.phase == "pushed":
            return


def test_a_lost_answer_to_a_push_starts_no_second_session(folder: Path) -> None:
    faults = FaultPlan(calls=(CallFault(call="SaveKernel", action=CallAction.LOST, times=3),))
    chain = Chain(SimulatedKaggle(pipeline(), faults=faults), folder)
    assert_whole(chain, chain.drive())


@pytest.mark.parametrize("handoff", ["dataset", "kernel-output"])
def test_either_handoff_brings_the_run_to_its_end_and_every_checkpoint_to_a_dataset(folder: Path, handoff: str) -> None:
    chain = Chain(SimulatedKaggle(pipeline(handoff=f"handoff: {handoff}")), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert all(c.status is CheckpointStatus.PUBLISHED for c in state.checkpoints)


def test_the_pipelines_own_files_are_published_once_and_every_session_mounts_them(folder: Path) -> None:
    (folder / "problems.jsonl").write_text("{}", encoding="utf-8")
    kaggle = SimulatedKaggle(parse(f"{PIPELINE}inputs: {{files: [problems.jsonl]}}", "sim.yaml", folder))
    chain = Chain(kaggle, folder / "home")
    state = chain.drive()
    assert_whole(chain, state)
    assert all(f"me/{RUN}-inputs" in mounts for mounts in kaggle.mounted)
    assert [f.name for _, f in chain.store.facts(RUN)].count("inputs_published") == 1


@pytest.mark.slow
def test_old_checkpoints_are_removed_and_never_the_last_two(folder: Path) -> None:
    found: Pipeline = pipeline(keep="keep_checkpoints: 2", session="session: {limit_s: 400, margin_s: 40}")
    chain = Chain(SimulatedKaggle(found), folder)
    state = chain.drive()
    assert_whole(chain, state)
    assert len(state.checkpoints) > 4
    kept = [c.name for c in state.checkpoints if c.status is CheckpointStatus.PUBLISHED]
    assert kept[-2:] == [c.name for c in state.checkpoints[-2:]]
    assert len(kept) <= 3
    assert not chain.home.checkpoint(state.run.id, state.checkpoints[0].name).exists()


def test_paused_means_the_session_ends_and_no_other_begins(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline())
    chain = Chain(kaggle, folder)
    for tick in chain.ticks():
        if any(fact.name == "seen_running" for fact in tick.facts):
            chain.store.request(chain.run, "pause", {}, kaggle.clock.now())
            break
    state = chain.drive()
    assert state.run.status is RunStatus.PARKED
    assert [s.outcome for s in state.sessions] == [Outcome.YIELDED]
    assert state.checkpoints[0].status is CheckpointStatus.PUBLISHED
    chain.store.request(chain.run, "resume", {}, kaggle.clock.now())
    assert_whole(chain, chain.drive())


class Broken(DirectGateway):
    """A Kaggle on which a person has to mend something before a dataset can be made."""

    broken = True

    def find_dataset(self, slug: str) -> DatasetSeen | None:
        if self.broken:
            raise Permanent("somebody has to mend this first")
        return super().find_dataset(slug)


def test_what_needs_a_person_while_a_run_is_paused_is_remembered_and_parks_it_no_second_time(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline())
    chain = Chain(kaggle, folder)
    gateway = Broken(kaggle.world)
    chain.gateway = gateway
    for tick in chain.ticks():
        if any(fact.name == "seen_running" for fact in tick.facts):
            chain.store.request(chain.run, "pause", {}, kaggle.clock.now())
        if tick.failure:
            break
    assert chain.state.run.reason == "paused by you"
    assert chain.store.snapshot(chain.run).watch.failure == "somebody has to mend this first"
    gateway.broken = False
    chain.store.request(chain.run, "resume", {}, kaggle.clock.now())
    assert_whole(chain, chain.drive())


def test_cancelled_means_that_nothing_more_is_done(folder: Path) -> None:
    kaggle = SimulatedKaggle(pipeline())
    chain = Chain(kaggle, folder)
    chain.store.request(chain.run, "cancel", {}, kaggle.clock.now())
    assert chain.drive().run.status is RunStatus.CANCELLED
    assert not kaggle.started
