"""Runs of a list in brief: from their newest rows, with their logs verified and the forecasts that are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.views.lost import damaged_document
from orchestrator.views.next_action import next_action
from orchestrator.views.open_run_forecast import kept_forecasts, open_run_forecast
from orchestrator.views.run_document import failure_document, request_document, run_document
from state.failures import StoreCorrupt, StoreGone
from state.model.statuses import RunStatus
from state.reader import Reader

COMPUTED_MAX = 3
"""Maximum number of forecasts that a list computes: it shows none of those that are not kept if there are more."""


@dataclass
class BriefList:
    """Runs as a list shows them."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    """Documents with the newest session alone, the time of all others in `earlier_s`, and no metrics and damage."""
    damaged: list[dict[str, Any]] = field(default_factory=list)
    unforecast: int = 0
    """Number of runs that go on by themselves whose forecast is not kept and was not computed."""


def brief_list(
    store: Reader, names: Sequence[str], now: datetime, daemon: dict[str, Any] | None, home: Path
) -> BriefList:
    """Describe these runs in brief, oldest first, at a cost that does not grow with the sessions of those that are over."""
    found = BriefList()
    kept = kept_forecasts(store, now)
    late: list[dict[str, Any]] = []
    for listed in store.listed(now, names, verified=True):
        if isinstance(listed, tuple):
            if isinstance(listed[1], StoreGone):
                raise listed[1]
            found.damaged.append(damaged_document(*listed))
            continue
        run = {
            **run_document(listed.state, listed.steps, now, listed.watch.seconds),
            **failure_document(listed.watch),
            **kept.get(listed.state.run.id, {}),
            "earlier_s": listed.earlier_s,
            "requests": [request_document(request) for request in listed.requests],
        }
        run["to_do"] = next_action(run, daemon, now)
        found.runs.append(run)
        if run["id"] not in kept and run["state"] in (RunStatus.ACTIVE, RunStatus.WAITING):
            late.append(run)
    if len(late) > COMPUTED_MAX:
        found.unforecast = len(late)
        return found
    for run in late:
        try:
            run.update(open_run_forecast(store, store.load(run["id"]), now, home))
        except StoreGone:
            raise
        except StoreCorrupt as error:
            found.runs.remove(run)
            found.damaged.append(damaged_document(run["id"], error))
    return found
