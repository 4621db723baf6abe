"""A second home folder on the same account: a copy of the first one, whose daemon runs beside the first daemon."""

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
from orchestrator.engine.tick import TickResult, tick
from orchestrator.kaggle.gateway import Gateway
from orchestrator.platforms.port import KernelPush, KernelPushed
from orchestrator.rehearsal.simulation.chain import LEASE_S, Chain
from state.memory_store import MemoryStore

TURNS_AT_ONCE = 6
"""Maximum number of ticks of the second daemon after each tick of the first one."""


class CopyIdentity(StrEnum):
    """Means by which a copied home folder can recognize that it is not the original."""

    KNOWN = "known"
    """The database records to which home folder the run belongs."""
    OTHER_ID = "other-id"
    """The copy has another id, but an older relay began the run, so only Kaggle's state reveals the original."""
    SAME_ID = "same-id"
    """The copy has the same id, as when a whole machine is cloned or a backup is restored beside the original."""


@dataclass(frozen=True)
class HomeCopy:
    """A planned copy of the home folder: the tick after which it is made, and how it can recognize the original."""

    after_ticks: int
    identity: CopyIdentity


def random_home_copy(seed: int) -> HomeCopy | None:
    """Draw the copy of a seed's chain; None for most seeds."""
    rng = random.Random(f"relay simulates {seed}: homes")
    if rng.random() < 0.75:
        return None
    after_ticks = rng.choice((rng.randint(0, 30), rng.randint(0, 150)))
    return HomeCopy(after_ticks=after_ticks, identity=rng.choice(list(CopyIdentity)))


class Interrupted:
    """Gateway of the first daemon that runs the second daemon between a search for a kernel and its push."""

    def __init__(self, inner: Gateway, meanwhile: Callable[[], None]) -> None:
        self._inner, self._meanwhile = inner, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def push(self, kernel: KernelPush) -> KernelPushed:
        """Run the second daemon's ticks, then push."""
        self._meanwhile()
        return self._inner.push(kernel)


class SecondHome:
    """The copied home folder, and the daemon that works on it while the first one sleeps."""

    def __init__(self, first: Chain, into: Path, copied: HomeCopy) -> None:
        assert isinstance(first.store, MemoryStore), "a database is copied as a file, which only a real daemon does"
        shutil.copytree(first.home.path, into)
        self.chain = copy.copy(first)
        self.chain.home, self.chain.store = HomeLayout(into), first.store.copy()
        if first.identity and copied.identity is not CopyIdentity.SAME_ID:
            self.chain.identity = "home-two@simulated"
        self._fence = self.chain.store.take_lease("second", first.clock.now(), LEASE_S, lambda _: False).fence
        self._shell = self.chain.shell(first.kaggle.gateway())
        self._until: datetime | None = first.clock.now()

    def go_on(self, told: Callable[[TickResult], None]) -> None:
        """Run the ticks that are due now. An unlimited wait ends the copy's work, since no person attends to it."""
        store: Any = self.chain.store
        for _ in range(TURNS_AT_ONCE):
            if self._until is None or self.chain.clock.now() < self._until:
                return
            result = tick(store, self.chain.run, self._shell, self._fence)
            told(result)
            if isinstance(result.command, Wait):
                self._until = result.command.until
