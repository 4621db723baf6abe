"""Changes of a simulated run's pipeline by its user, at any time: other intervals between saves, and other margins."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.simulation.chain import Chain
from state.facts.base import Fact
from state.facts.run import PipelineChanged
from state.model.statuses import RunStatus

STRUCK = "pipeline changed"
"""Name under which changes are counted among what happened to a chain."""


@dataclass(frozen=True)
class PlannedEdit:
    """A change after the `tick`-th tick: factors for the interval between saves and for the margin."""

    tick: int
    interval: float
    margin: float


def random_edits(seed: int) -> tuple[PlannedEdit, ...]:
    """Draw the changes of a seed's chain, in the order of their ticks; none for most seeds."""
    rng = random.Random(f"relay simulates {seed}: edits")
    found = [
        PlannedEdit(rng.randint(0, 90), rng.uniform(0.5, 2.0), rng.uniform(0.7, 1.0))
        for _ in range(rng.choice((0, 0, 0, 1, 2)))
    ]
    return tuple(sorted(found, key=lambda edit: edit.tick))


class Edits:
    """The user of a chain, who changes its pipeline."""

    def __init__(self, chain: Chain, planned: tuple[PlannedEdit, ...]) -> None:
        self._chain, self._left = chain, list(planned)
        self.taken_over = 0
        """Number of changes that a tick has taken over."""

    def after(self, tick: int, facts: Iterable[Fact]) -> str:
        """Ask for what is due after the `tick`-th tick, which had these facts; return the verb, or an empty string."""
        self.taken_over += sum(isinstance(fact, PipelineChanged) for fact in facts)
        run = self._chain.state.run
        if not self._left or tick < self._left[0].tick or run.status in (RunStatus.FINISHED, RunStatus.CANCELLED):
            return ""
        due, known = self._left.pop(0), Pipeline.from_canonical(run.pipeline)
        margin_s = known.limit_s - known.budget_s(known.limit_s)
        session = known.session.model_copy(
            update={"save_interval_s": known.save_interval_s * due.interval, "margin_s": margin_s * due.margin}
        )
        changed = known.model_copy(update={"session": session}).canonical()
        self._chain.store.request(
            run.id, "edit", {"pipeline": changed, "path": run.pipeline_path}, self._chain.clock.now()
        )
        return "edit"
