"""Facts about a run that is compared with others. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from orchestrator.views.history.hours import positions_of
from orchestrator.views.history.quota_clock import QuotaClock
from state.model.metrics import CurvePoint, StepSeen


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """Run and its sources."""

    document: Mapping[str, Any]
    """The run in the status document."""
    pipeline: Mapping[str, Any]
    """The pipeline's canonical JSON."""
    points: Sequence[CurvePoint] = ()
    seen: Sequence[StepSeen] = ()
    verdicts: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    """Verdicts on each problem, by evaluation and key of the problem; without evaluations that left no verdicts."""

    @property
    def id(self) -> str:
        """The run's name."""
        return str(self.document["id"])

    @property
    def stages(self) -> Sequence[Mapping[str, Any]]:
        """The stages with their progress and newest metrics."""
        return self.document["stages"]  # type: ignore[no-any-return]

    @property
    def evaluations(self) -> list[Mapping[str, Any]]:
        """The stages that evaluate and have begun to."""
        return [stage for stage in self.stages if stage["kind"] == "evaluate" and "accuracy" in stage["metrics"]]

    @cached_property
    def positions(self) -> dict[str, int]:
        """Steps of the pipeline before each stage."""
        return positions_of(self.stages)

    @cached_property
    def clock(self) -> QuotaClock:
        """Quota used by step."""
        return QuotaClock(self.document["sessions"], self.seen)
