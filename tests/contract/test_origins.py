"""Runs that begin from another run's checkpoint, against the local Kaggle: warm starts, forks and sweeps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import orchestrator
from orchestrator.base.clock import SystemClock
from orchestrator.base.errors import BadInput
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from state.model.run_state import RunState
from state.store import Store

pytestmark = pytest.mark.slow  # real sessions, one after the other

STAGE: dict[str, Any] = {"name": "one", "kind": "counting", "steps": 60, "options": {"step_s": 0.04}}
PIPELINE: dict[str, Any] = {
    "name": "count",
    "accelerator": "cpu",
    "keep_checkpoints": 3,
    "session": {"limit_s": 2.5, "margin_s": 1, "save_interval_s": 1},
    "stages": [STAGE, {"name": "two", "kind": "counting", "steps": 10}],
}


@dataclass
class Ran:
    """A finished run, and the Kaggle that has its datasets."""

    kaggle: LocalKaggle
    relay: orchestrator.Relay
    run: str

    def state(self, run: str) -> RunState:
        return Store.at(self.relay.home).load(run)

    def place(self, number: int = -1) -> str:
        """The place of a usable checkpoint of the run."""
        usable = [c for c in self.state(self.run).checkpoints if c.usable]
        return f"{usable[number].cursor.stage}:{usable[number].cursor.step}"

    def datasets(self, prefix: str = "") -> list[str]:
        """The datasets of checkpoints and files on Kaggle."""
        return sorted(each.slug for each in self.kaggle.world.datasets.all() if each.slug.startswith(prefix))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    root, clock = tmp_path_factory.mktemp("origins"), SystemClock()
    with LocalKaggle(root / "k", clock, Rules.brisk(30.0), NO_FAULTS, ProcessSandbox(root / "k", clock)) as kaggle:
        relay = orchestrator.open(root / "home", environ=kaggle.environment())
        run = relay.start(PIPELINE)
        assert relay.run(run)["state"] == "finished"
        yield Ran(kaggle, relay, run)


def test_a_warm_start_begins_with_the_checkpoints_state_at_step_0(ran: Ran) -> None:
    warm = PIPELINE | {"name": "warm", "stages": [STAGE | {"steps": 5}]}
    run = ran.relay.start(warm, origin=f"{ran.run}:{ran.place(-2)}", weights_only=True)
    assert ran.relay.run(run)["state"] == "finished"
    state = ran.state(run)
    origin = state.run.origin
    assert origin is not None
    theirs = next(c for c in ran.state(ran.run).checkpoints if c.digest == origin.digest)
    assert (origin.run, origin.checkpoint, origin.keeps) == (ran.run, theirs.name, "weights")
    assert state.sessions[0].start.step == 0
    assert state.checkpoints[0].parent == theirs.digest
    assert ran.datasets(run) == [c.name for c in state.checkpoints], "nothing of the other run was copied"


@pytest.mark.parametrize(
    ("origin", "weights_only", "said"),
    [
        ("nobody", True, "there is no run nobody"),
        ("{run}:one:7777", True, "no such verified checkpoint: its verified checkpoints are"),
        ("{run}", False, "keeps no optimizer state|wrote no model"),
        ("./exported", True, "not from a folder or a dataset"),
    ],
)
def test_what_a_run_cannot_begin_with_is_refused_and_nothing_is_made(
    ran: Ran, origin: str, weights_only: bool, said: str
) -> None:
    before = ran.relay.runs()
    with pytest.raises(BadInput, match=said):
        ran.relay.start(PIPELINE | {"name": "cold"}, origin=origin.format(run=ran.run), weights_only=weights_only)
    assert ran.relay.runs() == before
