"""Compares what one session of a cut run computed with what the uncut run computed at the same places."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.rehearsal.verify import bits
from orchestrator.rehearsal.verify.bits import Bits
from orchestrator.rehearsal.verify.cuts import SessionCut
from orchestrator.rehearsal.verify.sessions import Left
from stages.contract import Cursor
from stages.session.tracing import Traced

AT_START = "check_"
"""Metrics whose name begins so are measured where a session takes a stage up, so a cut run has more of them."""
ROLLOUTS = "rollouts"


@dataclass(frozen=True)
class Compared:
    """What was found in one session.

    `cut` is the cut after which it began (None: the run's first session), `start` the checkpoint that it went on from (None:
    from nothing). `losses`, `batches` and `rollouts` count steps; `unmatched` steps and checkpoints that
    the uncut run does not have, or has under other digests though no bit differs.
    """

    cut: SessionCut | None
    start: Cursor | None
    steps: int
    losses: int
    batches: int
    rollouts: int
    unmatched: int
    checkpoints: int
    bits: Bits

    @property
    def differing(self) -> int:
        """0 where this session computed what the uncut run computed."""
        return self.losses + self.batches + self.rollouts + self.unmatched + self.bits.differing


def compared(cut: SessionCut | None, start: Cursor | None, left: Left, whole: Left) -> Compared:
    """Every step and every checkpoint that a session left, against the uncut run's."""
    pairs = [(step, whole.steps[place]) for place, step in left.steps.items() if place in whole.steps]
    checkpoints = [(found, whole.at(found.manifest.cursor)) for found in left.checkpoints]
    known = [(found, expected) for found, expected in checkpoints if expected is not None]
    differences = [bits.between(expected, found) for found, expected in known]
    # Said to differ, and no bit does: something about them differs that is no content.
    unlike = [
        found.manifest.digests != expected.manifest.digests and not difference.differing
        for (found, expected), difference in zip(known, differences, strict=True)
    ]
    return Compared(
        cut=cut,
        start=start,
        steps=len(left.steps),
        losses=_count(pairs, _metrics),
        batches=_count(pairs, _batches),
        rollouts=_count(pairs, lambda step: {ROLLOUTS: step.saw.get(ROLLOUTS, "")}),
        unmatched=len(left.steps) - len(pairs) + len(checkpoints) - len(known) + sum(unlike),
        checkpoints=len(differences),
        bits=sum(differences, Bits()),
    )


def _count(pairs: list[tuple[Traced, Traced]], of: Callable[[Traced], dict[str, str]]) -> int:
    return sum(of(step) != of(expected) for step, expected in pairs)


def _metrics(step: Traced) -> dict[str, str]:
    return {name: value for name, value in step.metrics.items() if not name.startswith(AT_START)}


def _batches(step: Traced) -> dict[str, str]:
    return {name: digest for name, digest in step.saw.items() if name != ROLLOUTS}
