"""The stages of a pipeline as a person counts them: names, kinds and steps, read without waiting for the rest of the file."""

import json
from dataclasses import dataclass
from typing import Self

from stages.contract import Cursor


@dataclass(frozen=True)
class StageRef:
    """One stage and its target."""

    name: str
    kind: str
    steps: int


@dataclass(frozen=True)
class StageRefs:
    """All stages in order."""

    stages: tuple[StageRef, ...]

    @classmethod
    def from_canonical(cls, text: str) -> Self:
        """Those of the pipeline that `Pipeline.canonical` wrote: it was checked when the run began."""
        stages = json.loads(text)["stages"]
        return cls(tuple(StageRef(stage["name"], stage["kind"], stage["steps"]) for stage in stages))

    @property
    def total_steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    @property
    def beginning(self) -> Cursor:
        """Where a run without a checkpoint stands."""
        return Cursor(stage=self.stages[0].name, step=0)

    def position(self, cursor: Cursor) -> int:
        """Steps done since the beginning of the pipeline; ValueError for a stage that it does not have."""
        done = 0
        for stage in self.stages:
            if stage.name == cursor.stage:
                return done + cursor.step
            done += stage.steps
        raise ValueError(f"the pipeline has no stage {cursor.stage}")
