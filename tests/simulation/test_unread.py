"""A checkpoint whose copy on this disk cannot be read: it is fetched again, and where there is no other copy, waited for."""

from collections.abc import Iterator

import pytest

from orchestrator.base.errors import DiskRefused
from orchestrator.core.plan import Limits
from orchestrator.engine import effects
from orchestrator.engine.effects import EffectContext
from orchestrator.rehearsal.simulation.chain import fast_folder
from orchestrator.rehearsal.simulation.read_errors import unread
from stages.contract import BLOB_NAME
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointDamaged, DatasetOffered, PublishIntended
from state.model.run_state import RunState
from state.model.snapshot import Snapshot
from tests.simulation.test_bit_flips import KEY, OWNER, PIPELINE, Way
from tests.simulation.test_bit_flips import ORDER as PUSHED


@pytest.fixture
def way() -> Iterator[Way]:
    with fast_folder() as folder:
        yield Way(folder)


def published(way: Way, state: RunState) -> list[type[Fact]]:
    """The facts of one try to publish it."""
    shell = EffectContext(way.gateway, way.home, way.small.clock, Limits())
    return [type(fact) for fact in effects.publish(Snapshot(state=state), state.session(1, 1), PIPELINE, shell).facts]


def test_a_copy_that_cannot_be_read_is_fetched_again_where_the_session_s_output_has_it(way: Way) -> None:
    state = way.state(way.collect(way.quarantine()), PublishIntended(**KEY))
    bad = way.folder / BLOB_NAME
    inode, whole = bad.stat().st_ino, way.here()
    with unread(lambda path: path == str(bad) and bad.stat().st_ino == inode):
        assert published(way, state)[-1] is DatasetOffered
    assert way.here() == whole


def test_papers_that_cannot_be_taken_out_of_a_checkpoint_hold_nothing_up(way: Way) -> None:
    with unread(lambda path: path == str(way.folder / BLOB_NAME)):
        fact = way.collect(way.quarantine())
    assert way.is_whole(fact.manifest, way.here())


def test_the_only_copy_is_waited_for_while_it_cannot_be_read_and_given_up_once_it_is_removed(way: Way) -> None:
    state = way.state(way.collect(way.quarantine()), PublishIntended(**KEY))
    bad = way.folder / BLOB_NAME
    with way.small.world.at_now():
        way.small.world.kernels.delete(OWNER, PUSHED.slug)
    for _ in range(2):
        with (
            unread(lambda path: path == str(bad)),
            pytest.raises(DiskRefused, match=r"cannot be read: Input/output error, and Kaggle has no copy .*by itself"),
        ):
            published(way, state)
    assert published(way, state)[-1] is DatasetOffered, "it can be read again"
    way.gateway.delete_dataset(way.name)
    bad.unlink()
    assert published(way, state)[-1] is CheckpointDamaged
