"""The daemon may die at any instruction between an intent, an effect and a fact: the run finishes, and nothing ran twice."""

import contextlib
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import effects
from orchestrator import tick as turning
from orchestrator.commands import Command, Push
from orchestrator.rehearsal.kernels import Kernels
from state import machine
from state.facts import Fact, PushConfirmed
from state.model import RunState, Snapshot
from tests.simulation.chain import (
    Bomb,
    Chain,
    Crash,
    Kaggle,
    expected_digest,
    fast_folder,
    final_digest,
    hung,
    pipeline,
)


def eventful(folder: Path) -> Chain:
    """Three sessions, one of them killed at the limit."""
    kaggle = Kaggle(pipeline(), play=lambda order, played, index: hung(played, 500) if index == 2 else played)
    return Chain(kaggle, folder)


def assert_undisturbed(chain: Chain, state: RunState, where: str) -> None:
    assert final_digest(state) == expected_digest(chain.kaggle.pipeline), where
    assert set(chain.kaggle.started.values()) == {1}, f"{where}: {chain.kaggle.started}"
    assert machine.fold(chain.store.facts(chain.run)) == state, where
    datasets = [f"me/{c.name}" for c in state.checkpoints]
    assert sorted(datasets) == sorted(set(datasets)), where


def boundaries() -> int:
    """How many there are in the undisturbed chain."""
    counter = Bomb()
    with fast_folder() as folder:
        eventful(folder).drive(counter)
    return counter.passed


SHARDS = [pytest.param(n, marks=[pytest.mark.slow] if n else []) for n in range(32)]
"""Every boundary is in one of them; the first alone belongs to the quick suite."""


@pytest.mark.parametrize("shard", SHARDS)
def test_killed_at_every_boundary_the_chain_ends_the_same(shard: int) -> None:
    count = boundaries()
    assert count > 100
    for at in range(shard, count, len(SHARDS)):
        with fast_folder() as folder:
            chain = eventful(folder)
            assert_undisturbed(chain, chain.drive_through(Bomb(at)), f"killed at boundary {at} of {count}")


@pytest.mark.slow
@pytest.mark.parametrize("again", [1, 2, 5])
def test_killed_again_while_it_recovers_the_chain_ends_the_same(again: int) -> None:
    count = boundaries()
    for at in range(0, count, 7):
        if at + again < count:
            with fast_folder() as folder:
                chain = eventful(folder)
                state = chain.drive_through(Bomb(at), Bomb(again))
                assert_undisturbed(chain, state, f"killed at boundary {at} of {count}, then {again} later")


def test_a_daemon_that_pushed_without_looking_first_would_be_caught() -> None:
    """The tests above can fail: where nothing that exists is ever found, a crash after a push starts a second session."""

    class Blind(Kaggle):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.world.kernels = _Blind(self.world.kernels)

    class _Blind:
        def __init__(self, inner: Kernels) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def exists(self, owner: str, slug: str) -> bool:
            return False

    twice = 0
    for at in range(10, 40):
        with fast_folder() as folder:
            chain = Chain(Blind(pipeline()), folder)
            with contextlib.suppress(AssertionError):
                chain.drive_through(Bomb(at))
            twice += max(chain.kaggle.started.values(), default=0) > 1
            if twice:
                return
    raise AssertionError("no crash led to a second session, so the simulation would not notice one")


def test_a_daemon_that_noted_a_push_before_making_it_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail: a crash between such a note and the push leaves a session that nobody ever started."""
    intend, perform = turning._intent, effects.perform

    def too_early(command: Command, snapshot: Snapshot) -> tuple[Fact, ...]:
        facts = intend(command, snapshot)
        if isinstance(command, Push):
            facts += (PushConfirmed(number=command.number, attempt=command.attempt, kernel_version=1),)
        return facts

    def unnoted(command: effects.Effect, *more: Any) -> effects.Result:
        result = perform(command, *more)
        return replace(result, facts=()) if isinstance(command, Push) else result

    monkeypatch.setattr(turning, "_intent", too_early)
    monkeypatch.setattr(effects, "perform", unnoted)

    def caught(bomb: Bomb) -> bool:
        with fast_folder() as folder:
            chain = Chain(Kaggle(pipeline()), folder)
            try:
                with contextlib.suppress(Crash):
                    chain.drive(bomb)
                deque(chain.turns(turns_max=300), maxlen=0)
                assert_undisturbed(chain, chain.state, "planted")
            except AssertionError:
                return True
            return False

    assert not caught(Bomb()), "without a crash nobody would notice"
    assert any(caught(Bomb(at)) for at in range(8, 20))
