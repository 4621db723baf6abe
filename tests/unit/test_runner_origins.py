"""A session begins from another run's checkpoint as its order says: the same history, or the weights alone."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from stages.contract import HISTORY, OPTIMIZER, WEIGHTS, Cursor, Manifest, Order, Parent
from tests.unit.counting_runs import Kaggle, counting, kaggle, order

STAGES = (counting("first", 6), counting("second", 4))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of a run at every step of its two stages."""
    world = kaggle(tmp_path_factory.mktemp("origin") / "kaggle")
    world.run(order(stages=STAGES, save_interval_s=0.0, keep_checkpoints=99))
    return world.working / "relay" / "checkpoints"


@pytest.fixture
def world(tmp_path: Path) -> Kaggle:
    return kaggle(tmp_path / "kaggle")


def manifest(folder: Path) -> Manifest:
    return Manifest.from_json((folder / "manifest.json").read_text())


def begun(world: Kaggle, folder: Path, keeps: str, **changes: object) -> Order:
    """The first order of another run that begins from the checkpoint in this folder."""
    world.publish(folder, "datasets/me/count-1a2b-c0001")
    found = manifest(folder)
    parent = Parent(name="count-1a2b-c0001", digest=found.digest, run="count-1a2b", keeps=keeps)
    start = found.cursor if keeps == HISTORY else Cursor(stage="first", step=0)
    usual = order(run="fork-0001", slug="fork-0001-s0001", token="feed", stages=STAGES, start=start, parent=parent)
    return replace(usual, **changes)


@pytest.mark.parametrize("place", ["first-00000003", "first-00000006", "second-00000002"])
def test_a_fork_computes_what_the_run_itself_would_have(origin: Path, world: Kaggle, place: str) -> None:
    _, report = world.run(begun(world, origin / place, HISTORY))
    assert (report.outcome, report.run) == ("finished", "fork-0001")
    assert report.checkpoint is not None
    assert report.checkpoint.digests == manifest(origin / "second-00000004").digests
    assert report.checkpoint.parent == manifest(origin / place).digest


def test_a_fork_has_a_future_of_its_own(origin: Path, world: Kaggle) -> None:
    longer = (counting("first", 8), counting("other", 2))
    _, report = world.run(begun(world, origin / "first-00000003", HISTORY, stages=longer))
    assert (report.outcome, report.stages["first"].done, report.stages["other"].done) == ("finished", 8, 2)


@pytest.mark.parametrize("keeps", [WEIGHTS, OPTIMIZER])
def test_a_warm_start_begins_its_first_stage_at_step_0_with_the_others_state(
    origin: Path, world: Kaggle, keeps: str
) -> None:
    asked = begun(world, origin / "second-00000002", keeps, stages=(counting("first", 2),), seed=11)
    _, report = world.run(asked)
    assert (report.outcome, report.started, report.stages["first"].done) == ("finished", asked.start, 2)
    state = manifest(origin / "second-00000002").digests["state"]
    for step in (1, 2):  # as stages.counting computes it, with the seed of this run
        state = hashlib.sha256(f"{state} 11 first {step}".encode()).hexdigest()
    assert report.checkpoint is not None
    assert report.checkpoint.digests == {"state": state}


@pytest.mark.parametrize("run", ["count-ffff", "fork-0001", ""])
def test_a_checkpoint_of_another_run_than_the_order_names_is_refused(origin: Path, world: Kaggle, run: str) -> None:
    asked = begun(world, origin / "first-00000003", HISTORY)
    assert asked.parent is not None
    status, report = world.run(replace(asked, parent=replace(asked.parent, run=run)))
    assert (status, report.cause, report.checkpoint) == (1, "parent-mismatch", None)
