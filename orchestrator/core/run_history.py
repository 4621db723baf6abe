"""Recorded sessions, steps and timings of a run, from which durations are estimated. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.pipeline.model import Pipeline
from state.model.metrics import StepSeen
from state.model.run_state import Checkpoint, Session


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """Recorded sessions, steps and timings of a run."""

    run: str
    pipeline: Pipeline
    sessions: Sequence[Session]
    checkpoints: Sequence[Checkpoint]
    steps: Sequence[StepSeen]
    """Steps, in order of session and step."""
    reported: Mapping[tuple[int, int], Mapping[str, float]]
    """Timings in each session's report, by (number, attempt)."""
