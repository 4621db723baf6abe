"""Cuts of a run: five kinds of session ends, at seeded random steps or at steps that the user names."""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.base.errors import BadInput
from stages.contract import Cursor, StageSpec

LOST_STEPS = 3
"""Largest number of steps between the last save and a kill. They are lost, and the next session does them again."""


class CutKind(StrEnum):
    """Kind of session end at a cut."""

    YIELD = "yield"
    """The session stops itself after a step."""
    BOUNDARY = "boundary"
    """The session stops itself at the boundary between two stages."""
    KILL = "kill"
    """The session is killed (SIGKILL) while it computes the next step."""
    BEFORE_SAVE = "before-save"
    """The session is killed (SIGKILL) when it begins to save."""
    AFTER_SAVE = "after-save"
    """The session is killed (SIGKILL) as soon as it has saved."""

    @property
    def kills(self) -> bool:
        """True if the session is killed rather than stopping itself."""
        return self in (CutKind.KILL, CutKind.BEFORE_SAVE, CutKind.AFTER_SAVE)


@dataclass(frozen=True)
class SessionCut:
    """The end of a session.

    `share` is how far into the next step a KILL happens (0 to 1); `lost` is the number of steps before the cut that a
    killed session has not saved.
    """

    at: Cursor
    how: CutKind
    share: float = 0.5
    lost: int = 1

    @property
    def saved(self) -> Cursor:
        """Last place at which a session that is killed saves before the cut, regardless of the save interval."""
        lost = 0 if self.how is CutKind.AFTER_SAVE else self.lost
        return Cursor(stage=self.at.stage, step=max(1, self.at.step - lost))

    @property
    def saves(self) -> tuple[Cursor, ...]:
        """Places at which the order tells the session to save."""
        if not self.how.kills:
            return ()
        return (self.saved,) if self.how is CutKind.KILL else (self.saved, self.at)

    @property
    def latest(self) -> Cursor:
        """Place at which the session stops itself in case the kill comes too late."""
        return Cursor(stage=self.at.stage, step=self.at.step + 1) if self.how.kills else self.at


def random_cuts(stages: Sequence[StageSpec], count: int, seed: int) -> tuple[SessionCut, ...]:
    """Draw `count` cuts of all kinds at random places, in the order of the run. The same arguments give the same cuts.

    Returns fewer if the stages do not have enough places: no two cuts share a place, and none is at the very end.
    """
    boundaries = _shuffled([Cursor(stage=spec.name, step=spec.steps) for spec in stages[:-1]], seed)
    inside = _inside(stages, seed)
    at_boundaries = boundaries[: max(0, count // len(CutKind), count - len(inside))]
    sorts = [how for how in CutKind if how is not CutKind.BOUNDARY]
    cuts = [SessionCut(at, CutKind.BOUNDARY) for at in at_boundaries]
    for number, at in enumerate(_shuffled(inside[: count - len(cuts)], seed)):
        share, lost = 0.05 + 0.9 * _fraction(seed, "share", at), 1 + int(LOST_STEPS * _fraction(seed, "lost", at))
        cuts.append(SessionCut(at, sorts[number % len(sorts)], share, lost))
    return in_order(cuts, stages)


def named(text: str, stages: Sequence[StageSpec]) -> SessionCut:
    """Parse `STAGE:STEP` or `STAGE:STEP:HOW` into a cut. Raises BadInput."""
    stage, _, rest = text.partition(":")
    step, _, how = rest.partition(":")
    known = {spec.name: spec.steps for spec in stages}
    if stage not in known:
        raise BadInput(f"--at {text}: there is no stage {stage!r}: use one of {', '.join(known)}")
    if not (step.isascii() and step.isdecimal() and 0 < int(step) <= known[stage]):
        raise BadInput(f"--at {text}: {stage} can be cut after steps 1 to {known[stage]}: write {stage}:1")
    if how and how not in [sort.value for sort in CutKind]:
        raise BadInput(f"--at {text}: a cut is one of {', '.join(CutKind)}: write {stage}:{step}:kill, or leave it out")
    return _checked_cut(Cursor(stage=stage, step=int(step)), CutKind(how) if how else CutKind.YIELD, text, stages)


def _checked_cut(at: Cursor, how: CutKind, text: str, stages: Sequence[StageSpec]) -> SessionCut:
    ends = {spec.name: spec.steps for spec in stages}
    at_end = at.step == ends[at.stage]
    if at_end and at.stage == stages[-1].name:
        raise BadInput(f"--at {text}: the run ends there: name an earlier step")
    if how is CutKind.BOUNDARY and not at_end:
        raise BadInput(f"--at {text}: {at.stage} ends at {ends[at.stage]}: write {at.stage}:{ends[at.stage]}")
    if how.kills and at_end:
        raise BadInput(f"--at {text}: a session can be killed inside of a stage only: name an earlier step")
    return SessionCut(at, CutKind.BOUNDARY if at_end else how)


def in_order(cuts: Iterable[SessionCut], stages: Sequence[StageSpec]) -> tuple[SessionCut, ...]:
    """Sort the cuts by position in the run. Of several cuts at one place, the first given is kept."""
    order = [spec.name for spec in stages]
    places: dict[tuple[int, int], SessionCut] = {}
    for cut in cuts:
        places.setdefault((order.index(cut.at.stage), cut.at.step), cut)
    return tuple(places[place] for place in sorted(places))


def _inside(stages: Sequence[StageSpec], seed: int) -> list[Cursor]:
    """Return all places inside stages, shuffled and taken from each stage in turn, so long ones get no more cuts."""
    places = [_shuffled([Cursor(stage=spec.name, step=step) for step in range(1, spec.steps)], seed) for spec in stages]
    return [at for turn in itertools.zip_longest(*places) for at in turn if at is not None]


def _shuffled(places: Iterable[Cursor], seed: int) -> list[Cursor]:
    return sorted(places, key=lambda at: _fraction(seed, "place", at))


def _fraction(seed: int, *about: object) -> float:
    """Return a pseudo-random number from 0 to 1 that depends only on the arguments."""
    digest = hashlib.sha256(repr((seed, *about)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
