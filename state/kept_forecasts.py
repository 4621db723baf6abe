"""Forecasts of runs that go on by themselves, kept beside their facts with what they were computed from."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from state.model.statuses import RunStatus
from state.sql import Query, Row, document, moment, stamp
from state.tables import upsert

GOING_ON = f"""
    SELECT run.id,
    (SELECT max(fact.id) FROM fact WHERE fact.run = run.id) AS newest_fact,
    (SELECT quota.read_at FROM quota WHERE quota.owner = run.owner AND quota.accelerator = run.accelerator) AS quota_read_at,
    (SELECT poll_state.not_before FROM poll_state WHERE poll_state.run = run.id) AS not_before,
    (SELECT metric.session || '.' || metric.attempt || '.' || metric.number FROM metric WHERE metric.run = run.id
        ORDER BY metric.session DESC, metric.attempt DESC, metric.number DESC LIMIT 1) AS newest_step,
    forecast.computed_at, forecast.basis, forecast.steps, forecast.document
    FROM run LEFT JOIN forecast ON forecast.run = run.id
    WHERE run.status IN ('{RunStatus.ACTIVE.value}', '{RunStatus.WAITING.value}')
"""
ORDER = "ORDER BY run.created_at, run.id"


@dataclass(frozen=True)
class KeptForecast:
    """Forecast as it was computed."""

    computed_at: datetime
    basis: str
    """The facts, the quota and the wait that it was computed from."""
    steps: str
    """The newest event of a session's log that it was computed from."""
    part: dict[str, Any]
    """`forecast` and `forecast_problem` of the status document."""


@dataclass(frozen=True)
class ForecastBasis:
    """Records from which a forecast of a run would be computed now, and the one that is kept, if any."""

    run: str
    basis: str
    steps: str
    kept: KeptForecast | None

    @property
    def outdated(self) -> bool:
        """True if none is kept that was computed from the same facts, quota and wait."""
        return self.kept is None or self.kept.basis != self.basis


def forecast_bases(query: Query, code: str, run: str = "") -> list[ForecastBasis]:
    """Return the runs that go on by themselves, oldest first; with `run` that one or none.

    `code` is the version of the code that computes forecasts.
    """
    rows = query(f"{GOING_ON} AND run.id = :run", run=run) if run else query(f"{GOING_ON} {ORDER}")
    return [_basis(row, code) for row in rows]


def _basis(row: Row, code: str) -> ForecastBasis:
    basis = json.dumps([code, row["newest_fact"], row["quota_read_at"], row["not_before"]])
    kept = None
    if row["computed_at"] is not None:
        part = document(row["document"])
        kept = KeptForecast(moment(row["computed_at"]), row["basis"], row["steps"], part)
    return ForecastBasis(str(row["id"]), basis, row["newest_step"] or "", kept)


def keep_forecast(query: Query, of: ForecastBasis, at: datetime, part: dict[str, Any]) -> None:
    """Store the forecast that was computed from `of` at that time, in place of an older one."""
    row = {"run": of.run, "computed_at": stamp(at), "basis": of.basis, "steps": of.steps}
    upsert(query, "forecast", {**row, "document": json.dumps(part)}, ["run"])
