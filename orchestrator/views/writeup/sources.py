"""The sources of a write-up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.pipeline.model import Pipeline
from orchestrator.views.history.compared_run import ComparedRun
from orchestrator.views.writeup.traced import Source, row, rows
from state.facts.base import LoggedFact
from state.model.metrics import Metric


@dataclass(frozen=True, kw_only=True)
class WriteupSources:
    """A run's history, what `relay compare` knows of it, its log, and the rows of its newest metrics."""

    history: Mapping[str, Any]
    compared: ComparedRun
    facts: Sequence[LoggedFact]
    newest: Sequence[Metric]

    @property
    def run(self) -> Mapping[str, Any]:
        """The run's status document."""
        return self.compared.document

    @cached_property
    def pipeline(self) -> Pipeline:
        """The run's pipeline."""
        return Pipeline.from_canonical(json.dumps(self.compared.pipeline))

    def of_run(self, column: str) -> Source:
        """Return the origin of a value in the run's row."""
        return row("run", column, id=self.run["id"])

    def of_pipeline(self, path: str) -> Source:
        """Return the origin of a value in the pipeline, which is JSON in the run's row."""
        return {**self.of_run("pipeline"), "path": path}

    def of_metric(self, stage: str, name: str) -> Source:
        """Return the origin of the newest value of a stage's metric."""
        found = next(metric for metric in self.newest if (metric.stage, metric.name) == (stage, name))
        key = {key: getattr(found, key) for key in ("run", "session", "attempt", "number", "name")}
        return row("metric", "value", **key)

    def of_sessions(self, columns: list[str], how: str) -> Source:
        """Return the origin of a value computed from all sessions."""
        return rows("session", columns, how, run=self.run["id"])
