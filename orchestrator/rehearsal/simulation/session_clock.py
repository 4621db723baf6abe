"""Clock of a simulated session: when steps end and checkpoints are on disk, and how the seconds were spent."""

from dataclasses import dataclass, replace
from enum import Enum, auto

from stages.session.budget import STEPS_KEPT, Budget
from stages.session.time_accounting import TimeClass


class EventKind(Enum):
    """Kind of event on a session's clock."""

    STEP = auto()
    SAVED_BESIDE = auto()
    """A checkpoint was saved while steps continued."""
    SAVED = auto()
    """A checkpoint was saved while the session waited for it."""
    LEFT = auto()
    """The session left at its last exit before the limit."""


@dataclass(frozen=True)
class SessionMoment:
    """An event at a time on the session's clock; for a saved checkpoint, `save_s` is how long saving took."""

    what: EventKind
    at_s: float
    position: int
    save_s: float = 0.0


class SessionTimer:
    """Measures a session's times for its report and accounts for its seconds, as `stages.session.context` does."""

    def __init__(self, begin_s: float) -> None:
        self.at_s = begin_s
        self._save_s = 0.0
        self._steps_s: dict[str, list[float]] = {}
        self._spent = {TimeClass.OTHER: begin_s}

    def stepped(self, stage: str, at_s: float, compiling_s: float) -> bool:
        """Record a step; `compiling_s` is the compilation time of a stage's first step.

        Returns True if it was the stage's first step in this session.
        """
        steps_s = self._steps_s.setdefault(stage, [])
        took_s = at_s - self.at_s
        steps_s.append(took_s)
        self.at_s = at_s
        compiled_s = min(took_s, compiling_s) if len(steps_s) == 1 else 0.0
        self._add(TimeClass.COMPILE, compiled_s)
        self._add(TimeClass.STEP, took_s - compiled_s)
        return len(steps_s) == 1

    def saved(self, moment: SessionMoment) -> None:
        """Record a saved checkpoint."""
        self._save_s = max(self._save_s, moment.save_s)
        if moment.what is EventKind.SAVED:
            self._add(TimeClass.SAVE, moment.at_s - self.at_s)
            self.at_s = moment.at_s

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent so far, by time class."""
        return {what.value: round(seconds, 3) for what, seconds in self._spent.items() if seconds > 0}

    @property
    def timings(self) -> dict[str, float]:
        """Timings under the names that a report uses."""
        found = {"session_s": self.at_s, "save_s": self._save_s}
        for stage, (first_s, *later_s) in self._steps_s.items():
            budget = Budget(budget_s=0.0, save_interval_s=0.0, stage=stage, first_step_s=first_s)
            found |= replace(budget, steps_s=tuple(later_s[-STEPS_KEPT:])).timings()
        return found

    def _add(self, what: TimeClass, seconds: float) -> None:
        self._spent[what] = self._spent.get(what, 0.0) + seconds
