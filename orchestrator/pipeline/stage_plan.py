"""The stages of a pipeline and the places in them, parsed without the cost of the full pipeline model."""

import json
from dataclasses import dataclass
from typing import Self

from stages.contract import Cursor, StageSpec


@dataclass(frozen=True)
class StagePlan:
    """All stages of a pipeline in order; steps count from its beginning."""

    stages: tuple[StageSpec, ...]

    @classmethod
    def from_canonical(cls, text: str) -> Self:
        """Parse the text of `Pipeline.canonical`, which was validated when the run began."""
        return cls(tuple(StageSpec.from_dict(stage) for stage in json.loads(text)["stages"]))

    @property
    def total_steps(self) -> int:
        """Sum of the steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def beginning(self) -> Cursor:
        """Cursor of a run without a checkpoint."""
        return Cursor(stage=self.stages[0].name, step=0)

    def position(self, cursor: Cursor) -> int:
        """Return the steps done since the beginning of the pipeline; raises ValueError for an unknown stage."""
        done = 0
        for stage in self.stages:
            if stage.name == cursor.stage:
                return done + cursor.step
            done += stage.steps
        raise ValueError(f"the pipeline has no stage {cursor.stage}")
