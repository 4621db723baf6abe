"""Forecast of a run for the status document, with the evidence of its account."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.engine.evidence_files import EvidenceFiles
from state.model.run_state import RunState
from state.model.statuses import RunStatus
from state.reader import Reader


def open_run_forecast(store: Reader, state: RunState, now: datetime, home: Path) -> dict[str, Any]:
    """Forecast the end of a run that goes on by itself; return nothing for others, such as parked ones.

    The import is local: for a run that does not go on, status must not wait for pydantic.
    """
    if state.run.status not in (RunStatus.ACTIVE, RunStatus.WAITING):
        return {}
    from orchestrator.views.forecast import run_part

    return run_part(store, state, now, EvidenceFiles.of(home, os.environ).for_forecast(state.run.owner))
