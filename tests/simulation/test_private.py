"""Kernels and datasets are private: made so, and refused where one is found public."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from orchestrator.core.commands import FindPush
from orchestrator.rehearsal.local_kaggle.datasets import Describe
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.crash_injection import Crash, CrashPoint
from state.model.statuses import Phase, RunStatus
from tests.simulation.pipelines import expected_digest, pipeline
from tests.simulation.verifying import drive_until


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def test_whatever_a_run_makes_is_private(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    chain.drive()
    world = chain.kaggle.world
    with world.at_now():
        assert [d.about.is_private for d in world.datasets.all()] == [True] * 3
        assert [k.newest.save.is_private for k in world.kernels.all()] == [True] * 3


def test_a_dataset_found_public_asks_a_person_and_the_daemon_goes_on_living(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline()), folder)
    drive_until(chain, "publish_intended")
    world, name = chain.kaggle.world, chain.state.checkpoints[0].name
    with world.at_now():
        dataset = world.datasets.find("me", name)
        world.datasets.describe(dataset, Describe(title=name, is_private=False))
    for _ in islice(chain.ticks(), 60):  # what is under way is tried again and again while the run is parked
        pass
    assert chain.state.run.status is RunStatus.PARKED
    assert f"the dataset me/{name} is public: make it private on Kaggle" in chain.state.run.reason
    with world.at_now():
        world.datasets.describe(dataset, Describe(title=name, is_private=True))
    chain.store.request(chain.run, "retry", {}, chain.kaggle.clock.now())
    assert final_digest(chain.drive()) == expected_digest(chain.kaggle.pipeline)


def killed_after_its_push(folder: Path) -> Chain:
    """A run whose daemon died between a push and the fact of it."""
    for at in range(40):
        chain = Chain(SimulatedKaggle(pipeline()), folder / str(at))
        try:
            chain.drive(CrashPoint(at))
        except Crash:
            if chain.kaggle.world.kernels.all() and chain.state.sessions[0].phase is Phase.PUSHING:
                return chain
    raise AssertionError("there is no such boundary")


def test_a_kernel_found_public_is_not_adopted(folder: Path) -> None:
    chain = killed_after_its_push(folder)
    with chain.kaggle.world.at_now():
        (kernel,) = chain.kaggle.world.kernels.all()
        kernel.newest.save = replace(kernel.newest.save, is_private=False)
    tick = next(tick for tick in chain.ticks() if isinstance(tick.command, FindPush))
    assert "is public: make it private on Kaggle" in tick.failure
    assert chain.state.run.status is RunStatus.PARKED
