"""A run goes on on another platform and back from its verified checkpoint, and ends as if it had stayed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.rehearsal.local_kaggle.world import World
from orchestrator.rehearsal.simulation.chain import RUN, final_digest, fast_folder
from state.facts.run import PipelineKept, PlatformLeft
from state.model.statuses import CheckpointStatus, RunStatus
from state.store import Store
from tests.simulation.pipelines import PIPELINE, expected_digest, pipeline
from tests.simulation.two_platforms import MEMBER, ON_SLURM, TwoPlatforms, happened

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def datasets(world: World, owner: str) -> list[str]:
    slugs = (found.ref.partition("/") for found in world.datasets.all())
    return sorted(slug for account, _, slug in slugs if account == owner and slug.startswith(RUN))


def started(two: TwoPlatforms) -> list[int]:
    return [*two.kaggle.started.values(), *two.cluster.started.values()]


def moved(folder: Path, crash_at: int | None = None, **more: object) -> tuple[TwoPlatforms, bool]:
    """A run whose second session is on the cluster and whose others are on Kaggle, and whether its daemon died."""
    two = TwoPlatforms(folder, **more)
    two.drive(until=happened("checkpoint_published"))
    two.ask(ON_SLURM, MEMBER)
    struck = two.survive(crash_at) if crash_at is not None else False
    if crash_at is None:
        two.drive(until=happened("output_collected"))
        two.ask(PIPELINE, "me")
        two.drive()
    return two, struck


def test_a_run_that_moves_there_and_back_ends_in_the_digest_of_one_that_stayed(folder: Path) -> None:
    two, _ = moved(folder, store=Store.at(folder))
    state = two.chain.state
    assert final_digest(state) == expected_digest(pipeline())
    assert [session.platform for session in state.sessions] == [0, 1, 2]
    assert sorted(two.kaggle.started) == [f"{RUN}-s0001", f"{RUN}-s0003"]
    assert sorted(two.cluster.started) == [f"{RUN}-s0002"]
    assert set(started(two)) == {1}
    assert datasets(two.cluster.world, MEMBER) == [f"{RUN}-c0001"]
    assert datasets(two.kaggle.world, "me") == [f"{RUN}-c000{number}" for number in (1, 2, 3)]
    assert two.chain.store.rows(RUN) == state, "the database's rows are what the facts fold to"
    assert (state.run.owner, state.run.accelerator, state.run.owner_at(1)) == ("me", "tpu", MEMBER)
    assert [c.status for c in state.checkpoints] == [CheckpointStatus.PUBLISHED] * 3
    assert [c.platform for c in state.checkpoints] == [1, 2, 2]


def test_a_daemon_that_dies_while_a_checkpoint_is_carried_over_leaves_one_copy_that_counts(folder: Path) -> None:
    deaths = 0
    for at in range(0, 60, 3):
        (folder / str(at)).mkdir()
        two, struck = moved(folder / str(at), crash_at=at)
        state, deaths = two.chain.state, deaths + struck
        assert final_digest(state) == expected_digest(pipeline()), at
        assert set(started(two)) == {1}, at
        assert datasets(two.cluster.world, MEMBER) == [f"{RUN}-c000{number}" for number in (1, 2, 3)], at
        assert datasets(two.kaggle.world, "me") == [f"{RUN}-c0001"], at
        assert sum(isinstance(fact, PlatformLeft) for _, fact in two.chain.store.facts(RUN)) == 1, at
    assert deaths == 20
