"""Decides which home folder owns a resource on Kaggle, by the mark that each home folder leaves on what it creates."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from orchestrator.base.errors import Overtaken
from orchestrator.platforms.names import name_in
from orchestrator.platforms.port import DatasetSeen
from stages.contract import Order
from state.facts.run import RunParked, RunTakenOver
from state.failures import RunDamaged
from state.model.run_state import Run
from state.model.statuses import RunStatus
from state.store import Store

MARK = re.compile(r"\brelay home (\S{1,80}) generation (\d{1,12})\b")

OPEN = (RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED)


@dataclass(frozen=True)
class Mark:
    """Home folder that created a resource for a run. The higher generation is later; an empty `home` means no mark."""

    home: str
    generation: int

    @classmethod
    def of(cls, run: Run, identity: str) -> Self:
        """Return the mark that this home folder puts on what it creates."""
        return cls(identity, run.generation)

    @classmethod
    def on_order(cls, order: Order) -> Self:
        """Return the mark in a kernel's order, of the home folder that pushed it."""
        return cls(order.home, order.generation)

    @classmethod
    def on_dataset(cls, seen: DatasetSeen) -> Self:
        """Return the mark in a dataset's description; an empty mark if it has none."""
        found = MARK.search(seen.description)
        return cls(found[1], int(found[2])) if found else cls("", 0)

    @property
    def text(self) -> str:
        """Text of the mark in a dataset's description; empty for an empty mark."""
        return f"Made by relay home {self.home} generation {self.generation}" if self.home else ""

    def overtakes(self, own: "Mark") -> bool:
        """Return True if the marking home folder works on the run beside or after the one that `own` marks."""
        if not self.home or not own.home:
            return False
        return self.generation > own.generation or (self.generation == own.generation and self.home != own.home)


def refuse_overtaken(mark: Mark, what: str, run: Run, identity: str) -> None:
    """Raise Overtaken if another home folder made `what`."""
    if mark.overtakes(Mark.of(run, identity)):
        who = f"the home folder {mark.home}" if mark.home != identity else "a later state of this home folder"
        raise Overtaken(f"{what} was made by {who}, so {run.id} is worked on there: {_choice(run)}", mark.generation)


def overtaken_unawares(what: str, run: Run) -> Overtaken:
    """Return the error for a resource that carries this home folder's mark but that it does not know."""
    return Overtaken(
        f"{what} is on {name_in(run.pipeline)} already, and this home folder never made it: another copy of it works on {run.id}, or "
        f"this one was brought back from a backup: {_choice(run)}"
    )


def fenced(run: Run, identity: str) -> RunParked | None:
    """Return the fact that parks a run that belongs to another home folder by the database, or None."""
    if not identity or not run.home or run.home == identity:
        return None
    reason = f"this home folder is a copy, and {run.id} belongs to the home folder {run.home}: {_choice(run)}"
    return RunParked(reason=reason, remedy=take_over(run))


def take_over(run: Run) -> str:
    """Return the command with which the user lets this home folder take the run over."""
    return f"relay resume {run.id} --take-over"


def go_on_here(store: Store, identity: str, now: datetime) -> None:
    """Take over this home folder's runs from its own later state, after a backup was restored: all but finished ones.

    What the later state made on Kaggle is then found and adopted. Runs of another home folder are left alone: only the
    user moves them.
    """
    for name, _ in store.run_names():
        try:
            run = store.load(name).run
        except RunDamaged:
            continue
        if run.status is not RunStatus.FINISHED and run.home in ("", identity):
            generation = max(run.generation + 1, int(now.timestamp()))
            store.append(name, [RunTakenOver(home=identity, generation=generation)], now)


def open_to_parking(run: Run) -> bool:
    """Return True if the run can still be parked to ask the user."""
    return run.status in (RunStatus.ACTIVE, RunStatus.WAITING)


def _choice(run: Run) -> str:
    return f"stop the daemon there, and {take_over(run)} continues it here"
