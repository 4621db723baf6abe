"""A simulated session's clock: when each step is done and each checkpoint is on disk, and what the seconds went to."""

from dataclasses import dataclass, replace
from enum import Enum, auto

from stages.session.budget import STEPS_KEPT, Budget
from stages.session.time_accounting import TimeClass


class EventKind(Enum):
    """What a session's clock is told of."""

    STEP = auto()
    SAVED_BESIDE = auto()
    """Steps go on meanwhile."""
    SAVED = auto()
    """It was waited for."""
    LEFT = auto()
    """The last exit before the limit."""


@dataclass(frozen=True)
class SessionMoment:
    """On the session's clock; `save_s` is how long the checkpoint took that is on disk now."""

    what: EventKind
    at_s: float
    position: int
    save_s: float = 0.0


class SessionTimer:
    """Times a session for its report, and accounts for its seconds, as `stages.session.context` does."""

    def __init__(self, begin_s: float) -> None:
        self.at_s = begin_s
        self._save_s = 0.0
        self._steps_s: dict[str, list[float]] = {}
        self._spent = {TimeClass.OTHER: begin_s}

    def stepped(self, stage: str, at_s: float, compiling_s: float) -> bool:
        """A step was done, a stage's first with so much compiling; answers whether it was the first in this session."""
        steps_s = self._steps_s.setdefault(stage, [])
        took_s = at_s - self.at_s
        steps_s.append(took_s)
        self.at_s = at_s
        compiled_s = min(took_s, compiling_s) if len(steps_s) == 1 else 0.0
        self._add(TimeClass.COMPILE, compiled_s)
        self._add(TimeClass.STEP, took_s - compiled_s)
        return len(steps_s) == 1

    def saved(self, moment: SessionMoment) -> None:
        """A checkpoint was saved."""
        self._save_s = max(self._save_s, moment.save_s)
        if moment.what is EventKind.SAVED:
            self._add(TimeClass.SAVE, moment.at_s - self.at_s)
            self.at_s = moment.at_s

    @property
    def seconds(self) -> dict[str, float]:
        """By class, until now."""
        return {what.value: round(seconds, 3) for what, seconds in self._spent.items() if seconds > 0}

    @property
    def timings(self) -> dict[str, float]:
        """By the names that a report has them under."""
        found = {"session_s": self.at_s, "save_s": self._save_s}
        for stage, (first_s, *later_s) in self._steps_s.items():
            budget = Budget(budget_s=0.0, save_interval_s=0.0, stage=stage, first_step_s=first_s)
            found |= replace(budget, steps_s=tuple(later_s[-STEPS_KEPT:])).timings()
        return found

    def _add(self, what: TimeClass, seconds: float) -> None:
        self._spent[what] = self._spent.get(what, 0.0) + seconds
