"""The daemon may die at any instruction between an intent, an effect and a fact: the run finishes, and nothing ran twice."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.commands import Command, Push
from orchestrator.engine import effects
from orchestrator.engine import tick as turning
from orchestrator.platforms.port import KernelsPage
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from orchestrator.rehearsal.simulation.crash_injection import Crash, CrashPoint
from orchestrator.rehearsal.simulation.runner import simulate
from orchestrator.rehearsal.simulation.sessions import hung
from state import machine
from state.facts.base import Fact
from state.facts.session import PushConfirmed
from state.model.run_state import RunState
from state.model.snapshot import Snapshot
from tests.simulation.pipelines import expected_digest, pipeline


def eventful(folder: Path) -> Chain:
    """Three sessions, one of them killed at the limit."""
    kaggle = SimulatedKaggle(pipeline(), play=lambda order, played, index: hung(played, 500) if index == 2 else played)
    return Chain(kaggle, folder)


def assert_undisturbed(chain: Chain, state: RunState, where: str) -> None:
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline), where
    assert set(chain.kaggle.started.values()) == {1}, f"{where}: {chain.kaggle.started}"
    assert machine.fold(chain.store.facts(chain.run)) == state, where
    assert [s.outcome for s in state.sessions] == ["yielded", "timed_out", "yielded", "finished"], where


def killed(*at: int) -> None:
    """The eventful chain whose daemons die at these boundaries of their lives ends as if none had."""
    with fast_folder() as folder:
        chain = eventful(folder)
        for boundary in at:
            with suppress(Crash):  # a life may be shorter than that
                chain.drive(CrashPoint(boundary))
        assert_undisturbed(chain, chain.drive(), f"killed at boundaries {at}")


@pytest.fixture(scope="module")
def boundaries() -> int:
    """How many there are in the undisturbed chain."""
    counter = CrashPoint()
    with fast_folder() as folder:
        eventful(folder).drive(counter)
    assert counter.passed > 100
    return counter.passed


SHARDS = range(4)
"""Every boundary is in one of them. The quick suite has its crashes in the chains of the simulator."""


@pytest.mark.slow
@pytest.mark.parametrize("shard", SHARDS)
def test_killed_at_every_boundary_the_chain_ends_the_same(shard: int, boundaries: int) -> None:
    for at in range(shard, boundaries, len(SHARDS)):
        killed(at)


AGAIN = {1: 0, 2: 1, 3: 2}
"""So many boundaries after a crash its successor dies as well, from which boundary on: each third, so that every one has its turn."""
LATER = {5: 0, 8: 1, 13: 2}
"""As above, and later."""


@pytest.mark.slow
@pytest.mark.parametrize("again", [*AGAIN, *(pytest.param(again, marks=pytest.mark.nightly) for again in LATER)])
def test_killed_at_every_boundary_and_again_while_it_recovers_the_chain_ends_the_same(
    again: int, boundaries: int
) -> None:
    for at in range((AGAIN | LATER)[again], boundaries, 3):
        killed(at, again)


@pytest.mark.slow
def test_killed_three_times_in_a_row_the_chain_ends_the_same(boundaries: int) -> None:
    for at in range(0, boundaries, 5):
        killed(at, 1, 2)


# --- planted bugs: the simulator can fail --------------------------------------


def broken(seeds: range) -> set[str]:
    """The invariants that break in the chains of these seeds."""
    return {chain.broken.split(":")[0] for chain in simulate(seeds).failed}


SEEDS = range(1, 40)


@pytest.mark.slow
def test_a_daemon_that_pushed_without_looking_first_is_caught_by_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash after a push, or a lost answer to it, starts a second session where nothing that exists is ever found."""
    monkeypatch.setattr(DirectGateway, "find_kernel", lambda gateway, slug: None)
    monkeypatch.setattr(DirectGateway, "recent_kernels", lambda gateway, page="": KernelsPage())
    assert "no order is pushed twice" in broken(SEEDS)


@pytest.mark.slow
def test_a_daemon_that_noted_a_push_before_making_it_is_caught_by_the_simulator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A crash between such a note and the push leaves a session that nobody ever started."""
    intend, perform = turning._intent, effects.perform

    def too_early(command: Command, snapshot: Snapshot) -> tuple[Fact, ...]:
        facts = intend(command, snapshot)
        if isinstance(command, Push):
            facts += (PushConfirmed(number=command.number, attempt=command.attempt, kernel_version=1),)
        return facts

    def unnoted(command: effects.Effect, *more: Any) -> effects.EffectResult:
        result = perform(command, *more)
        return replace(result, facts=()) if isinstance(command, Push) else result

    monkeypatch.setattr(turning, "_intent", too_early)
    monkeypatch.setattr(effects, "perform", unnoted)
    found = broken(SEEDS)
    assert any("the chain does not end" in name or "a person typed" in name for name in found), found
