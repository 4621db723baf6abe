"""Delayed effects on the local Kaggle: changes that take place, or become visible, later than they were requested."""

from collections.abc import Callable
from datetime import datetime, timedelta

Effect = Callable[[datetime], object]
"""Function that performs an effect, given the time at which it was due."""


class DelayedEffects:
    """Queue of delayed effects. The caller holds the world's lock."""

    def __init__(self) -> None:
        self._due: list[tuple[datetime, int, Effect]] = []
        self._scheduled = 0

    def after(self, now: datetime, seconds: float, effect: Effect) -> None:
        """Schedule an effect `seconds` from now."""
        self._scheduled += 1
        self._due.append((now + timedelta(seconds=seconds), self._scheduled, effect))

    def carry_out(self, now: datetime) -> None:
        """Perform all due effects in the order of their times."""
        due = sorted(entry[:2] for entry in self._due if entry[0] <= now)
        effects = {entry[:2]: entry[2] for entry in self._due}
        self._due = [entry for entry in self._due if entry[0] > now]
        for at, number in due:
            effects[at, number](at)
