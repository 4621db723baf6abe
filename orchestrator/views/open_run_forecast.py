"""Forecast of a run for the status document: the one that the daemon keeps, or else computed with the account's evidence."""

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.engine.evidence_files import EvidenceFiles
from state.kept_forecasts import ForecastBasis
from state.model.run_state import RunState
from state.model.statuses import RunStatus
from state.reader import Reader

CODE = "1"
"""Version of forecasts: to be raised when the same records give another one, or one with other keys."""
KEPT_FOR = timedelta(minutes=10)
"""Age from which a kept forecast is no longer shown. The daemon computes it anew at half that age."""


def open_run_forecast(store: Reader, state: RunState, now: datetime, home: Path) -> dict[str, Any]:
    """Return the forecast of a run that goes on by itself; nothing for others, such as parked ones."""
    if state.run.status not in (RunStatus.ACTIVE, RunStatus.WAITING):
        return {}
    kept = kept_forecasts(store, now, state.run.id)
    return dict(kept[state.run.id]) if kept else computed_forecast(store, state, now, home)


def kept_forecasts(store: Reader, now: datetime, run: str = "") -> dict[str, Mapping[str, Any]]:
    """Return `forecast` and `forecast_problem` by run, as kept, of the runs whose kept forecast still holds.

    With `run` of that run alone.
    """
    bases = store.forecast_bases(CODE, run)
    return {of.run: of.kept.part for of in bases if of.kept is not None and holds(of, now)}


def holds(of: ForecastBasis, now: datetime) -> bool:
    """Return whether a kept forecast may be shown: its facts are the newest, it is fresh, and nothing is overdue."""
    if of.kept is None or of.outdated or not timedelta() <= now - of.kept.computed_at < KEPT_FOR:
        return False
    found = of.kept.part["forecast"]
    expected = [found["finish_at"], found["session_ends_at"]] if found else []
    return all(now < datetime.fromisoformat(at) for at in expected if at is not None)


def computed_forecast(store: Reader, state: RunState, now: datetime, home: Path) -> dict[str, Any]:
    """Compute the forecast of a run that goes on by itself.

    The import is local: for a run that does not go on, or whose forecast is kept, status must not wait for pydantic.
    """
    from orchestrator.views.forecast import run_part

    return run_part(store, state, now, EvidenceFiles.of(home, os.environ).for_forecast(state.run.owner))
