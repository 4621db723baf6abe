"""A second home folder on the same account: a copy, made at some point, whose daemon works beside the first one's."""

import copy
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.core.commands import Wait
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.tick import Turn, tick
from orchestrator.kaggle.gateway import Gateway, KernelPush, KernelPushed
from orchestrator.rehearsal.simulation.chain import LEASE_S, Chain
from state.memory_store import MemoryStore

TURNS_AT_ONCE = 6
"""So many turns the second daemon has after one of the first one's, at most."""


class Kinship(StrEnum):
    """What a copy can know of the original."""

    KNOWN = "known"
    """Its database says to which home folder the run belongs."""
    MARKED = "marked"
    """It has another id, and only what is on Kaggle tells of the original: an older relay began the run."""
    UNAWARES = "unawares"
    """It has the same id, as where a whole machine was copied, or a backup was brought back beside the original."""


@dataclass(frozen=True)
class Copied:
    """When the folder is copied, and what the copy can know."""

    after_turns: int
    kinship: Kinship


def drawn_copy(seed: int) -> Copied | None:
    """What a seed copies; most copy nothing."""
    rng = random.Random(f"relay simulates {seed}: homes")
    if rng.random() < 0.75:
        return None
    after_turns = rng.choice((rng.randint(0, 30), rng.randint(0, 150)))
    return Copied(after_turns=after_turns, kinship=rng.choice(list(Kinship)))


class Interrupted:
    """The account as the first daemon sees it; between its look for a kernel and its push the second one may do anything."""

    def __init__(self, inner: Gateway, meanwhile: Callable[[], None]) -> None:
        self._inner, self._meanwhile = inner, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def push(self, kernel: KernelPush) -> KernelPushed:
        """Let the other one go on, then push."""
        self._meanwhile()
        return self._inner.push(kernel)


class SecondHome:
    """The copy, and the daemon that works on it whenever the first one lets time pass."""

    def __init__(self, first: Chain, into: Path, copied: Copied) -> None:
        assert isinstance(first.store, MemoryStore), "a database is copied as a file, which only a real daemon does"
        shutil.copytree(first.home.path, into)
        self.chain = copy.copy(first)
        self.chain.home, self.chain.store = HomeLayout(into), first.store.copy()
        if first.identity and copied.kinship is not Kinship.UNAWARES:
            self.chain.identity = "home-two@simulated"
        self._fence = self.chain.store.take_lease("second", first.clock.now(), LEASE_S, lambda _: False).fence
        self._shell = self.chain.shell(first.kaggle.gateway())
        self._until: datetime | None = first.clock.now()

    def go_on(self, told: Callable[[Turn], None]) -> None:
        """As many turns as are due now; a rest without an end is the end, since no person looks after the copy."""
        store: Any = self.chain.store
        for _ in range(TURNS_AT_ONCE):
            if self._until is None or self.chain.clock.now() < self._until:
                return
            turn = tick(store, self.chain.run, self._shell, self._fence)
            told(turn)
            if isinstance(turn.command, Wait):
                self._until = turn.command.until
