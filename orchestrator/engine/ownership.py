"""Whose work on Kaggle is whose: the mark that a home folder leaves on what it makes, and what a mark of another one means."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from orchestrator.base.errors import Overtaken
from orchestrator.kaggle.gateway import DatasetSeen
from stages.contract import Order
from state.facts import RunParked, RunTakenOver
from state.failures import RunDamaged
from state.model import Run, RunStatus
from state.store import Store

MARK = re.compile(r"\brelay home (\S{1,80}) generation (\d{1,12})\b")

OPEN = (RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED)


@dataclass(frozen=True)
class Mark:
    """Who made something for a run. The higher generation is the later one; an empty `home` says nothing."""

    home: str
    generation: int

    @classmethod
    def of(cls, run: Run, identity: str) -> Self:
        """What this home folder puts on what it makes."""
        return cls(identity, run.generation)

    @classmethod
    def on_order(cls, order: Order) -> Self:
        """The mark of who pushed a kernel."""
        return cls(order.home, order.generation)

    @classmethod
    def on_dataset(cls, seen: DatasetSeen) -> Self:
        """The mark of who made a dataset; an empty one where its description has none."""
        found = MARK.search(seen.description)
        return cls(found[1], int(found[2])) if found else cls("", 0)

    @property
    def text(self) -> str:
        """As a dataset's description; empty for an empty mark."""
        return f"Made by relay home {self.home} generation {self.generation}" if self.home else ""

    def overtakes(self, own: "Mark") -> bool:
        """Whether whoever left it works on the run beside, or after, the one whose own mark that is."""
        if not self.home or not own.home:
            return False
        return self.generation > own.generation or (self.generation == own.generation and self.home != own.home)


def refuse_overtaken(mark: Mark, what: str, run: Run, identity: str) -> None:
    """Raise Overtaken where `what` is the work of another home folder than this one."""
    if mark.overtakes(Mark.of(run, identity)):
        who = f"the home folder {mark.home}" if mark.home != identity else "a later state of this home folder"
        raise Overtaken(f"{what} was made by {who}, so {run.id} is worked on there: {_choice(run)}", mark.generation)


def overtaken_unawares(what: str, run: Run) -> Overtaken:
    """The error for what this home folder has made by its mark, and knows nothing of."""
    return Overtaken(
        f"{what} is on Kaggle already, and this home folder never made it: another copy of it works on {run.id}, or this one was "
        f"brought back from a backup: {_choice(run)}"
    )


def fenced(run: Run, identity: str) -> RunParked | None:
    """Why this home folder may not work on a run that its database says another one works on, or None."""
    if not identity or not run.home or run.home == identity:
        return None
    reason = f"this home folder is a copy, and {run.id} belongs to the home folder {run.home}: {_choice(run)}"
    return RunParked(reason=reason, remedy=take_over(run))


def take_over(run: Run) -> str:
    """The command with which a person lets this home folder have the run."""
    return f"relay resume {run.id} --take-over"


def go_on_here(store: Store, identity: str, now: datetime) -> None:
    """Take this home folder's open runs over from its own later state, whose kernels and datasets a backup does not know.

    What is on Kaggle is then found and gone on with. A run of another home folder is left alone: only a person moves that.
    """
    for name, _ in store.roll():
        try:
            run = store.load(name).run
        except RunDamaged:
            continue
        if run.status in OPEN and run.home in ("", identity):
            generation = max(run.generation + 1, int(now.timestamp()))
            store.append(name, [RunTakenOver(home=identity, generation=generation)], now)


def open_to_parking(run: Run) -> bool:
    """Whether a person can still be asked by parking the run."""
    return run.status in (RunStatus.ACTIVE, RunStatus.WAITING)


def _choice(run: Run) -> str:
    return f"stop the daemon there, and {take_over(run)} makes it go on here"
