"""What a session leaves may be anything: documents too large to be any are never taken in, and the chain goes on without them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.engine.collecting.files import DOCUMENT_BYTES_MAX
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from stages.contract import Order, Progress, seal_of
from tests.simulation.pipelines import expected_digest, pipeline

REPORT, SEAL = "relay/report.json", "relay/report.sha256"
BOMB = b" " * (DOCUMENT_BYTES_MAX + 1)


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as found:
        yield found


def leaving(*names: str) -> SimulatedKaggle:
    """A world whose first session leaves a bomb under each of these names, last of all."""

    def play(order: Order, played: Played, index: int) -> Played:
        if index > 1:
            return played
        kept = [file for file in played.files if file[1] not in names]
        return replace(played, files=[*kept, *((played.ends_after_s, name, BOMB) for name in names)])

    return SimulatedKaggle(pipeline(), play=play)


@pytest.mark.slow
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


def garbled(before: bytes, after: bytes, *, sealed: bool) -> SimulatedKaggle:
    """A world whose first session's report says something else than it said; `sealed`: it was written so."""

    def play(order: Order, played: Played, index: int) -> Played:
        if index > 1:
            return played
        report = next(data for _, name, data in played.files if name == REPORT).replace(before, after)
        told = {REPORT: report, **({SEAL: seal_of(report)} if sealed else {})}
        return replace(played, files=[(at_s, name, told.get(name, data)) for at_s, name, data in played.files])

    return SimulatedKaggle(pipeline(), play=play)


@pytest.mark.slow
@pytest.mark.parametrize("sealed", [True, False])
def test_a_report_that_makes_no_sense_counts_as_none_and_costs_no_checkpoint(folder: Path, sealed: bool) -> None:
    chain = Chain(garbled(b'"yielded"', b'"yhelded"', sealed=sealed), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert (state.sessions[0].cause, state.sessions[0].attempt) == ("no-report", 1)
    assert state.sessions[1].start.step > 0


def test_a_report_damaged_on_its_way_is_not_believed(folder: Path) -> None:
    chain = Chain(garbled(b'"yielded"', b'"finished"', sealed=False), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert state.sessions[0].cause == "no-report"


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        Progress(number=0, event="step", at_s=1.0, stage="nowhere", step=7, target=9).line(),
        Progress(number=0, event="step", at_s=1.0, stage="one", step=10**9, target=9).line(),
        Progress(number=0, event="step", at_s=1.0, stage="one", step=7, target=9)
        .line()
        .replace('"format":1', '"format":9'),
    ],
    ids=["no such stage", "no such step", "another format"],
)
def test_a_log_may_say_anything(folder: Path, line: str) -> None:
    def play(order: Order, played: Played, index: int) -> Played:
        return replace(played, lines=[(1.0, line), *played.lines])

    chain = Chain(SimulatedKaggle(pipeline(), play=play), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert all(session.steps_lost == 0 for session in state.sessions)


@pytest.mark.slow
def test_a_listing_without_content_costs_no_steps(folder: Path) -> None:
    """`{}` reads like the listing of a session that left nothing."""
    empty = CallFault(call="ListKernelSessionOutput", action=CallAction.EMPTY, times=2)
    chain = Chain(SimulatedKaggle(pipeline(), faults=FaultPlan(calls=(empty,))), folder)
    state = chain.drive()
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline)
    assert [(session.attempt, session.steps_lost) for session in state.sessions] == [(1, 0)] * 3
