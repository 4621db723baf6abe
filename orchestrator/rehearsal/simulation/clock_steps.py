"""This machine's clock, independent of Kaggle's: it is set forward and back while a daemon runs, and between two."""

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
    """Clock of this machine: the simulated clock plus the error `off`."""

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
    """Change of the clock by `by`, before the `tick`-th tick.

    With `between`, it happens when the next daemon starts after that tick.
    """

    tick: int
    by: timedelta
    between: bool
    noticed: bool
    """True if the running daemon notices the change, as it does when it checks the clock between two rounds."""


def random_clock_steps(seed: int) -> tuple[ClockStep, ...]:
    """Draw the clock changes of a seed's chain. Most come in pairs: a wrong setting is corrected later."""
    rng = random.Random(f"relay simulates {seed}: clocks")
    found: list[ClockStep] = []
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        tick, by = rng.randint(0, 80), rng.choice(STEPS)
        found.append(ClockStep(tick, by, rng.random() < 0.4, rng.random() < 0.5))
        if rng.random() < 0.8:
            back = ClockStep(tick + rng.randint(1, 60), -by, rng.random() < 0.4, rng.random() < 0.5)
            found.append(back)
    return tuple(sorted(found, key=lambda setting: setting.tick))


class ClockSteps:
    """Applies clock changes as the ticks of a chain go by."""

    def __init__(self, clock: OwnClock, settings: tuple[ClockStep, ...]) -> None:
        self._clock, self._left, self._tick = clock, list(settings), 0
        self.made = 0
        """Number of changes applied. Two at once may cancel out, and yet make relay forget its observations."""

    def begun(self) -> None:
        """Apply all due changes when a daemon starts."""
        self._set([setting for setting in self._left if setting.tick <= self._tick])

    def turned(self) -> bool:
        """Apply the changes due before the next tick. Return True if the daemon notices one."""
        self._tick += 1
        due = [setting for setting in self._left if setting.tick <= self._tick and not setting.between]
        self._set(due)
        return any(setting.noticed for setting in due)

    def _set(self, due: list[ClockStep]) -> None:
        for setting in due:
            self._clock.off += setting.by
            self._left.remove(setting)
            self.made += 1
