"""Cancels of a simulated chain that its user takes back: at once, while its session goes on, or after it rested."""

import random
from dataclasses import dataclass

from orchestrator.rehearsal.simulation.chain import Chain
from state.model.statuses import RunStatus

STRUCK = "cancel taken back"
"""Name under which cancels are counted among what happened to a chain."""


@dataclass(frozen=True)
class TakenBackCancel:
    """A cancel after the `tick`-th tick. It is taken back `ticks` ticks later, or once the run has rested `rest_s`."""

    tick: int
    ticks: int
    rest_s: float


def random_cancels(seed: int) -> tuple[TakenBackCancel, ...]:
    """Draw the cancels of a seed's chain, in the order of their ticks; none for half of the seeds."""
    rng = random.Random(f"relay simulates {seed}: cancels")
    found = [
        TakenBackCancel(rng.randint(0, 90), rng.choice((0, 1, rng.randint(2, 40))), rng.uniform(0.0, 100_000.0))
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))
    ]
    return tuple(sorted(found, key=lambda cancel: cancel.tick))


class Cancels:
    """The user of a chain, who cancels its run and takes that back."""

    def __init__(self, chain: Chain, planned: tuple[TakenBackCancel, ...]) -> None:
        self._chain, self._left = chain, list(planned)
        self._made: TakenBackCancel | None = None
        self._back_at = 0
        self.taken_back = 0
        """Number of cancels that were taken back."""

    def after(self, tick: int) -> str:
        """Type what is due after the `tick`-th tick; return its verb, or an empty string."""
        if self._made is not None:
            return self._take_back() if tick >= self._back_at else ""
        over = self._chain.state.run.status is RunStatus.FINISHED
        if over or not self._left or tick < self._left[0].tick:
            return ""
        self._made = self._left.pop(0)
        self._back_at = tick + self._made.ticks
        return self._type("cancel")

    def after_rest(self) -> str:
        """Let the cancelled run rest, and take it back; return the verb."""
        if self._made is not None:  # a restored database may be cancelled although the cancel was taken back
            self._chain.kaggle.clock.sleep(self._made.rest_s)
        return self._take_back()

    def _take_back(self) -> str:
        self._made = None
        self.taken_back += 1
        return self._type("resume")

    def _type(self, verb: str) -> str:
        self._chain.store.request(self._chain.run, verb, {}, self._chain.clock.now())
        return verb
