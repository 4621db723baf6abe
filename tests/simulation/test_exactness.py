"""A run whose image is rebuilt between two sessions: what `exactness` makes of it, and where the user reads it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.pipeline.loader import parse
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan
from orchestrator.rehearsal.simulation.chain import RUN, Chain, SimulatedKaggle, fast_folder
from stages.contract import Manifest
from state.model.statuses import RunStatus
from state.store import Store
from tests.simulation.parked_runs import TRAINING, UNPINNED
from tests.simulation.pipelines import PIPELINE
from tests.simulation.typed import told

pytestmark = pytest.mark.slow

REBUILT = FaultPlan.from_yaml("""
images:
  - {session: 1, environment: {RELAY_STAND_IN_LIBTPU: 0.0.17}}
  - {session: 2, environment: {RELAY_STAND_IN_LIBTPU: 0.0.42.1}}
""")
CHANGE = "libtpu 0.0.17 → 0.0.42.1"


@dataclass
class RebuiltRun:
    """A run that was driven until it ended or parked."""

    chain: Chain

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(told(self.chain, "status", RUN, "--json"))["runs"][0]
        return found

    @property
    def page(self) -> str:
        path = self.chain.home.path / "page.html"
        told(self.chain, "report", RUN, "--output", str(path))
        return path.read_text(encoding="utf-8")


def driven(folder: Path, text: str) -> RebuiltRun:
    (folder / "sim.yaml").write_text(text, encoding="utf-8")
    kaggle = SimulatedKaggle(parse(text, "sim.yaml", folder), faults=REBUILT)
    chain = Chain(kaggle, folder, store=Store.at(folder))
    chain.drive()
    return RebuiltRun(chain)


@pytest.fixture(scope="module")
def warned() -> Iterator[RebuiltRun]:
    with fast_folder() as folder:
        yield driven(folder, UNPINNED)


def test_with_warn_the_run_goes_on_and_status_json_and_page_tell_at_which_session_what_changed(
    warned: RebuiltRun,
) -> None:
    assert warned.chain.state.run.status is RunStatus.FINISHED
    found = warned.document["numerics"]
    assert found["exactness"] == "warn"
    assert [(each["session"], each["changes_bits"]) for each in found["changes"]] == [(2, True)]
    assert [part["text"] for part in found["changes"][0]["parts"]] == [CHANGE]
    assert f"from session 2 on other bits are possible: {CHANGE}" in told(warned.chain, "status", RUN)
    assert CHANGE in warned.page


def test_every_checkpoint_says_with_which_compiler_it_was_computed(warned: RebuiltRun) -> None:
    records = [Manifest.from_json(each.manifest).numerics for each in warned.chain.state.checkpoints]
    versions = [record.packages["libtpu"] for record in records if record is not None]
    assert versions == ["0.0.17", *["0.0.42.1"] * (len(records) - 1)]
    assert len(records) > 2


def test_with_strict_the_session_ends_before_its_first_step_and_is_not_tried_again() -> None:
    with fast_folder() as folder:
        strict = driven(folder, f"{UNPINNED}exactness: strict\n")
        run = strict.chain.state
        assert run.run.status is RunStatus.PARKED
        last = run.sessions[-1]
        assert (len(run.sessions), last.cause, last.furthest) == (2, "numerics-changed", last.start)
        assert len(strict.chain.kaggle.trained) == 1, "the second session trained nothing"
        assert CHANGE in run.run.reason
        assert strict.document["numerics"]["exactness"] == "strict"


def test_relays_own_lock_keeps_the_compiler_though_the_image_is_rebuilt() -> None:
    with fast_folder() as folder:
        locked = driven(folder, f"{TRAINING}exactness: strict\n")
        assert locked.chain.state.run.status is RunStatus.FINISHED
        assert locked.document["numerics"]["changes"] == []


def test_of_a_run_that_computes_no_numbers_nothing_is_claimed() -> None:
    with fast_folder() as folder:
        counted = driven(folder, f"{PIPELINE}exactness: strict\n")
        assert counted.chain.state.run.status is RunStatus.FINISHED
        found = counted.document["numerics"]
        assert (found["newest"], found["changes"], found["unknown_before"]) == (None, [], None)
        assert "bits" not in told(counted.chain, "status", RUN)
