"""Compare what one session of a cut run computed with what the uncut run computed at the same steps."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.rehearsal.verify import bits
from orchestrator.rehearsal.verify.bits import Bits
from orchestrator.rehearsal.verify.cuts import SessionCut
from orchestrator.rehearsal.verify.sessions import SessionLeftovers
from stages.contract import Cursor
from stages.session.tracing import Traced

AT_START = "check_"
"""Prefix of metrics that are measured when a session enters a stage, so that a cut run has more of them."""
ROLLOUTS = "rollouts"


@dataclass(frozen=True)
class Compared:
    """Differences found in one session.

    `cut` is the cut after which the session began (None for the run's first session) and `start` the checkpoint it
    resumed from (None if it started from scratch). `losses`, `batches` and `rollouts` count the steps in which these
    differ. `unmatched` counts steps and checkpoints that the uncut run does not have, or has under other digests
    although no bit differs.
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
        """Number of differences; 0 if this session computed the same as the uncut run."""
        return self.losses + self.batches + self.rollouts + self.unmatched + self.bits.differing


def compared(cut: SessionCut | None, start: Cursor | None, left: SessionLeftovers, whole: SessionLeftovers) -> Compared:
    """Compare every step and every checkpoint of a session with those of the uncut run."""
    pairs = [(step, whole.steps[place]) for place, step in left.steps.items() if place in whole.steps]
    checkpoints = [(found, whole.at(found.manifest.cursor)) for found in left.checkpoints]
    known = [(found, expected) for found, expected in checkpoints if expected is not None]
    differences = [bits.between(expected, found) for found, expected in known]
    # The digests differ although no bit of the contents does: the files differ in something that is not content.
    unlike = [
        found.manifest.digests != expected.manifest.digests and not difference.differing
        for (found, expected), difference in zip(known, differences, strict=True)
    ]
    return Compared(
        cut=cut,
        start=start,
        steps=len(left.steps),
        losses=_count_differing(pairs, _metrics),
        batches=_count_differing(pairs, _batches),
        rollouts=_count_differing(pairs, lambda step: {ROLLOUTS: step.saw.get(ROLLOUTS, "")}),
        unmatched=len(left.steps) - len(pairs) + len(checkpoints) - len(known) + sum(unlike),
        checkpoints=len(differences),
        bits=sum(differences, Bits()),
    )


def _count_differing(pairs: list[tuple[Traced, Traced]], of: Callable[[Traced], dict[str, str]]) -> int:
    return sum(of(step) != of(expected) for step, expected in pairs)


def _metrics(step: Traced) -> dict[str, str]:
    return {name: value for name, value in step.metrics.items() if not name.startswith(AT_START)}


def _batches(step: Traced) -> dict[str, str]:
    return {name: digest for name, digest in step.saw.items() if name != ROLLOUTS}
