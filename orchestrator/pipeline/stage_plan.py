"""The stages of a pipeline and the places in them, parsed without the cost of the full pipeline model."""

import json
from dataclasses import dataclass
from typing import Self

from stages.contract import HISTORY, Cursor, StageSpec


def cursor_at(place: str) -> Cursor:
    """Parse a place such as `sft:40`; raises ValueError for another form than `stage:step`."""
    stage, colon, step = place.rpartition(":")
    if not (colon and stage and step.isascii() and step.isdigit()):
        raise ValueError(f"{place!r} should have the form stage:step, such as sft:40")
    return Cursor(stage=stage, step=int(step))


@dataclass(frozen=True)
class StagePlan:
    """All stages of a pipeline in order; steps count from its beginning."""

    stages: tuple[StageSpec, ...]
    forked_at: Cursor | None = None
    """Place where a fork leaves the other run; None for any other run."""

    @classmethod
    def from_canonical(cls, text: str) -> Self:
        """Parse the text of `Pipeline.canonical`, which was validated when the run began."""
        value = json.loads(text)
        stages = tuple(StageSpec.from_dict(stage) for stage in value["stages"])
        origin = value.get("origin")
        return cls(stages, cursor_at(origin["at"]) if origin and origin["keeps"] == HISTORY else None)

    @property
    def total_steps(self) -> int:
        """Sum of the steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def beginning(self) -> Cursor:
        """Cursor of a run without a checkpoint."""
        return self.forked_at or Cursor(stage=self.stages[0].name, step=0)

    def position(self, cursor: Cursor) -> int:
        """Return the steps done since the beginning of the pipeline; raises ValueError for an unknown stage."""
        done = 0
        for stage in self.stages:
            if stage.name == cursor.stage:
                return done + cursor.step
            done += stage.steps
        raise ValueError(f"the pipeline has no stage {cursor.stage}")
