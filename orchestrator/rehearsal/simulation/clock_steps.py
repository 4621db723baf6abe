"""This machine's own clock, which need not be Kaggle's: it is set forward and back, while a daemon runs and between two."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.base.clock import Clock

YEAR = timedelta(days=365)
STEPS = (
    timedelta(minutes=-3),
    timedelta(minutes=10),
    timedelta(hours=-2),
    timedelta(hours=7),
    timedelta(hours=-13),
    timedelta(days=3),
    YEAR,
    -YEAR,
)


class OwnClock:
    """The world's clock as this machine tells it: wrong by `off`."""

    def __init__(self, world: Clock, off: timedelta = timedelta(0)) -> None:
        self._world, self.off = world, off

    def now(self) -> datetime:
        return self._world.now() + self.off

    def monotonic(self) -> float:
        return self._world.monotonic()

    def sleep(self, seconds: float) -> None:
        self._world.sleep(seconds)


@dataclass(frozen=True)
class ClockStep:
    """The clock is set by `by` before the `turn`-th turn of the chain, or (`between`) when the next daemon begins after it."""

    turn: int
    by: timedelta
    between: bool
    noticed: bool
    """Whether the daemon that runs notices it, as it does when it looks between two rounds."""


def drawn_settings(seed: int) -> tuple[ClockStep, ...]:
    """The settings of a seed's chain, which come in pairs as a rule: what was set wrong is put right later."""
    rng = random.Random(f"relay simulates {seed}: clocks")
    found: list[ClockStep] = []
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        turn, by = rng.randint(0, 80), rng.choice(STEPS)
        found.append(ClockStep(turn, by, rng.random() < 0.4, rng.random() < 0.5))
        if rng.random() < 0.8:
            back = ClockStep(turn + rng.randint(1, 60), -by, rng.random() < 0.4, rng.random() < 0.5)
            found.append(back)
    return tuple(sorted(found, key=lambda setting: setting.turn))


class ClockSteps:
    """Carries out settings on a clock as the turns of a chain go by."""

    def __init__(self, clock: OwnClock, settings: tuple[ClockStep, ...]) -> None:
        self._clock, self._left, self._turn = clock, list(settings), 0
        self.made = 0
        """How many were carried out: two at once may leave the clock as it was, and yet what was seen is forgotten."""

    def begun(self) -> None:
        """A daemon begins."""
        self._set([setting for setting in self._left if setting.turn <= self._turn])

    def turned(self) -> bool:
        """A turn is about to come; whether the daemon notices that the clock was set before it."""
        self._turn += 1
        due = [setting for setting in self._left if setting.turn <= self._turn and not setting.between]
        self._set(due)
        return any(setting.noticed for setting in due)

    def _set(self, due: list[ClockStep]) -> None:
        for setting in due:
            self._clock.off += setting.by
            self._left.remove(setting)
            self.made += 1
