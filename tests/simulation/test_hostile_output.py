"""What a session leaves may be anything: documents too large to be any are never taken in, and the chain goes on without them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.candidates import DOCUMENT_BYTES_MAX
from orchestrator.rehearsal.sandbox import Played
from orchestrator.simulation.chain import Chain, Kaggle, fast_folder, final_digest
from stages.contract import Order
from tests.simulation.pipelines import expected_digest, pipeline

BOMB = b" " * (DOCUMENT_BYTES_MAX + 1)


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def leaving(*names: str) -> Kaggle:
    """A world whose first session leaves a bomb under each of these names, last of all."""

    def play(order: Order, played: Played, index: int) -> Played:
        if index > 1:
            return played
        kept = [file for file in played.files if file[1] not in names]
        return replace(played, files=[*kept, *((played.ends_after_s, name, BOMB) for name in names)])

    return Kaggle(pipeline(), play=play)


@pytest.mark.parametrize(
    "name",
    ["relay/report.json", "relay/checkpoints/zzz/manifest.json", "relay/checkpoints/one-00000087/manifest.json"],
)
def test_a_document_too_large_to_be_one_costs_no_more_than_that_document(folder: Path, name: str) -> None:
    chain = Chain(leaving(name), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert set(chain.kaggle.started.values()) == {1}
    large = [path for path in folder.rglob("*.json*") if path.stat().st_size >= DOCUMENT_BYTES_MAX]
    assert large == []
