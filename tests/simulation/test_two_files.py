"""A checkpoint of several files goes through collection, publication and the next session's mount as one of one file does."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from stages.contract import COMPILED_NAME, MANIFEST_NAME, FileEntry, Manifest, Order
from tests.simulation.pipelines import expected_digest, pipeline
from tests.simulation.verifying import drive_until, rot, sealed


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def with_programs(order: Order, played: Played, index: int) -> Played:
    """The same session, whose checkpoints also carry compiled programs."""
    files = []
    for at_s, path, data in played.files:
        if path.endswith(MANIFEST_NAME):
            programs = f"programs of session {order.session}".encode() * 1000
            digest = hashlib.sha256(programs).hexdigest()
            entry = FileEntry(path=COMPILED_NAME, size_bytes=len(programs), sha256=digest)
            manifest = Manifest.from_json(data)
            data = replace(manifest, files=(*manifest.files, entry)).to_json().encode()
            files.append((at_s, path.replace(MANIFEST_NAME, COMPILED_NAME), programs))
        files.append((at_s, path, data))
    return replace(played, files=sealed(files))


def published(chain: Chain, name: str) -> list[str]:
    """The files of a checkpoint's dataset."""
    dataset = DirectGateway(chain.kaggle.world).find_dataset(name)
    assert dataset is not None
    return sorted(file.name for file in dataset.files)


def test_compiled_programs_travel_with_their_checkpoint(folder: Path) -> None:
    chain = Chain(SimulatedKaggle(pipeline(), play=with_programs), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert len(state.sessions) == 3
    for checkpoint in state.checkpoints[-2:]:
        here = chain.home.checkpoint(state.run.id, checkpoint.name)
        assert sorted(path.name for path in here.iterdir()) == [COMPILED_NAME, MANIFEST_NAME, "state.bin"]
    assert published(chain, state.checkpoints[-2].name) == [COMPILED_NAME, MANIFEST_NAME, "state.bin"]


def test_programs_that_an_earlier_checkpoint_has_are_not_fetched_again(folder: Path) -> None:
    """Every session names the same programs, and only the first one's can be had from Kaggle."""

    def play(order: Order, played: Played, index: int) -> Played:
        same = with_programs(replace(order, session=1), played, index)
        spoilt = [
            (at_s, path, b"x" if index > 1 and path.endswith(COMPILED_NAME) else data)
            for at_s, path, data in same.files
        ]
        return replace(same, files=spoilt)

    chain = Chain(SimulatedKaggle(pipeline(), play=play), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    for checkpoint in state.checkpoints:
        here = chain.home.checkpoint(state.run.id, checkpoint.name)
        assert (here / COMPILED_NAME).read_bytes() == b"programs of session 1" * 1000
    assert not [fact for _, fact in chain.store.facts(state.run.id) if fact.name == "damage_found"]


def test_an_earlier_checkpoints_programs_that_went_bad_are_fetched(folder: Path) -> None:
    def play(order: Order, played: Played, index: int) -> Played:
        return with_programs(replace(order, session=1), played, index)

    chain = Chain(SimulatedKaggle(pipeline(), play=play), folder)
    drive_until(chain, "output_collected")
    rot(chain.home.checkpoint(chain.run, chain.state.checkpoints[0].name) / COMPILED_NAME)
    state = chain.drive()
    here = chain.home.checkpoint(state.run.id, state.checkpoints[-1].name)
    assert (here / COMPILED_NAME).read_bytes() == b"programs of session 1" * 1000


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"", b"x", None])
def test_programs_that_arrive_damaged_cost_no_step(data: bytes | None, folder: Path) -> None:
    """Kaggle holds other bytes than the manifest says, or none: the checkpoint counts, and goes on without them."""

    def play(order: Order, played: Played, index: int) -> Played:
        carried = with_programs(order, played, index)
        kept = [file for file in carried.files if not file[1].endswith(COMPILED_NAME)]
        spoilt = [
            (at_s, path, data) for at_s, path, _ in carried.files if path.endswith(COMPILED_NAME) and data is not None
        ]
        return replace(carried, files=[*kept, *spoilt])

    chain = Chain(SimulatedKaggle(pipeline(), play=play), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert [session.steps_lost for session in state.sessions] == [0, 0, 0]
    assert published(chain, state.checkpoints[-2].name) == [MANIFEST_NAME, "state.bin"]
