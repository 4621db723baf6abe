"""What happens on the local Kaggle later than it was asked for, and what is there and not shown yet."""

from collections.abc import Callable
from datetime import datetime, timedelta

Effect = Callable[[datetime], object]
"""Carries something out; is told when it was due."""


class Later:
    """Effects that are due at a time of their own. The caller holds the world's lock."""

    def __init__(self) -> None:
        self._due: list[tuple[datetime, int, Effect]] = []
        self._noted = 0

    def after(self, now: datetime, seconds: float, effect: Effect) -> None:
        """Carry it out so many seconds from now."""
        self._noted += 1
        self._due.append((now + timedelta(seconds=seconds), self._noted, effect))

    def carry_out(self, now: datetime) -> None:
        """Carry out what is due, in the order of time."""
        due = sorted(entry[:2] for entry in self._due if entry[0] <= now)
        effects = {entry[:2]: entry[2] for entry in self._due}
        self._due = [entry for entry in self._due if entry[0] > now]
        for at, number in due:
            effects[at, number](at)
