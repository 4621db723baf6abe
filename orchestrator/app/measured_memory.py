"""Peaks of memory that the runs of a home folder measured, for the plan of a pipeline."""

import pydantic

from orchestrator.core.memory_peaks import peaks_in
from orchestrator.pipeline.model import Pipeline
from orchestrator.preflight.memory.measured import MeasuredPeaks, measured_in
from stages.contract import STAND_IN_METRIC
from state.failures import RunDamaged
from state.reader import Reader

RUNS_MAX = 20
"""Maximum number of runs that are read, newest first."""


def measured_of(store: Reader, pipeline: Pipeline) -> list[MeasuredPeaks]:
    """Return what earlier sessions of the same model and accelerator measured, without those of stand-in models."""
    found: list[MeasuredPeaks] = []
    for run in reversed(store.runs()[-RUNS_MAX:]):
        newest = store.last_metrics(run.id)
        if any(metric.name == f"{STAND_IN_METRIC}model" for metric in newest):
            continue
        try:
            ran = Pipeline.from_canonical(run.pipeline)
            peaks = peaks_in((logged for _, logged in store.facts(run.id)), newest)
        except (pydantic.ValidationError, RunDamaged):
            continue
        found += measured_in(run.id, ran, pipeline, peaks)
    return found
