"""What the simulator has found in the core, each mended and kept here by what had to happen for it to show."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.commands import Publish
from orchestrator.rehearsal.local_kaggle.faults import (
    CallAction,
    CallFault,
    DatasetAction,
    DatasetFault,
    FaultPlan,
    PushAction,
    PushFault,
    SessionAction,
    SessionFault,
)
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.runner import one
from state.facts.session import PushConfirmed
from state.model.statuses import CheckpointStatus, Phase
from tests.simulation.pipelines import expected_digest, pipeline


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


@pytest.mark.parametrize("push", [1, 2])
def test_a_version_that_never_runs_is_not_waited_for(folder: Path, push: int) -> None:
    """Seeds 6 and 8: the answer to a push named a version behind the one that ran, and the run was parked for ever."""
    faults = FaultPlan(pushes=(PushFault(push=push, action=PushAction.PHANTOM),))
    chain = Chain(SimulatedKaggle(pipeline(), faults=faults), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert [s.outcome for s in state.sessions] == ["yielded", "yielded", "finished"]


def test_a_kernel_whose_newest_version_never_ran_is_adopted_where_an_older_one_runs(folder: Path) -> None:
    """A lost answer to such a push: it was taken for one that Kaggle had declined, and pushed again."""
    faults = FaultPlan(
        calls=(CallFault(call="SaveKernel", action=CallAction.LOST),),
        pushes=(PushFault(push=1, action=PushAction.PHANTOM),),
    )
    chain = Chain(SimulatedKaggle(pipeline(accelerator="accelerator: NvidiaTeslaT4"), faults=faults), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert set(chain.kaggle.started.values()) == {1}
    assert any(isinstance(fact, PushConfirmed) and fact.adopted for _, fact in chain.store.facts(chain.run))


@pytest.mark.slow
def test_a_run_is_not_over_before_every_checkpoint_that_was_to_be_published_is(folder: Path) -> None:
    """Seeds 7 and 18: with `handoff: kernel-output` a slow dataset was forgotten once the last session was done."""
    faults = FaultPlan(datasets=(DatasetFault(version=1, action=DatasetAction.SLOW, seconds=20_000.0),))
    chain = Chain(SimulatedKaggle(pipeline(handoff="handoff: kernel-output"), faults=faults), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert {c.status for c in state.checkpoints} == {CheckpointStatus.PUBLISHED}


@pytest.mark.parametrize("action", [CallAction.EMPTY, CallAction.HTML])
@pytest.mark.slow
def test_a_push_that_was_declined_is_not_taken_for_a_session_because_of_one_answer_that_made_no_sense(
    folder: Path, action: CallAction
) -> None:
    """Seed 9780: `{}` reads as queued, so the kernel was adopted, never ran, and the run was parked for ever."""
    held = SessionFault(session=1, action=SessionAction.HOLD_SLOT, seconds=600.0)
    state = Chain(SimulatedKaggle(pipeline(), faults=FaultPlan(sessions=(held,))), folder / "before").drive()
    assert len(state.sessions) == 3
    for nth in range(1, 40):
        nonsense = CallFault(call="GetKernelSessionStatus", action=action, nth=nth)
        chain = Chain(
            SimulatedKaggle(pipeline(), faults=FaultPlan(sessions=(held,), calls=(nonsense,))), folder / str(nth)
        )
        state = chain.drive()
        assert final_digest(state) == expected_digest(chain.kaggle.pipeline), nth
        assert set(chain.kaggle.started.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [6, 7, 8, 15, 18, 22, 26, 37, 45, 58, 9780])
def test_the_seeds_that_showed_it_end(seed: int) -> None:
    assert one(seed).broken == ""


@pytest.mark.slow
def test_a_look_at_a_dataset_forgets_nothing_of_the_session_that_runs_meanwhile(folder: Path) -> None:
    """With `handoff: kernel-output`: its log would be read from the beginning again, and seem to tell something new each time."""
    faults = FaultPlan(datasets=(DatasetFault(version=1, action=DatasetAction.SLOW, seconds=1500.0),))
    chain = Chain(SimulatedKaggle(pipeline(handoff="handoff: kernel-output"), faults=faults), folder)
    seen = 0
    for tick in chain.ticks():
        last, watch = chain.state.last, chain.store.watch(chain.run)
        if isinstance(tick.command, Publish) and last is not None and last.phase is Phase.RUNNING:
            assert (watch.log_lines, watch.done_at) == (tick.before.log_lines, tick.before.done_at)
            seen += tick.before.log_lines > 0
    assert seen > 2
