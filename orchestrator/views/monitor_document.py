"""The runs as monitors read them every few seconds: from their newest rows and totals, at a cost that sessions hardly raise."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from orchestrator.base import process_id
from orchestrator.views.document import daemon_document, quota_document
from orchestrator.views.lost import damaged_document
from orchestrator.views.next_action import next_action
from orchestrator.views.open_run_forecast import kept_forecasts
from orchestrator.views.run_document import failure_document, request_document, run_document
from state.reader import Reader
from state.run_rows import RunTotals


def monitor_document(
    store: Reader | None, now: datetime, alive: Callable[[str], bool | None] = process_id.is_alive
) -> dict[str, Any]:
    """Return `daemon`, `runs`, `damaged` and `quota` of the status document, as `open_metrics` needs them.

    A run has its newest session alone, with totals of all in `totals`. Logs are not verified, and forecasts are those
    that are kept.
    """
    document: dict[str, Any] = {"at": now.isoformat(), "daemon": None, "runs": [], "damaged": [], "quota": []}
    if store is None:
        return document
    daemon = daemon_document(store.lease(), now, alive)
    kept, totals = kept_forecasts(store, now), store.run_totals()
    for listed in store.listed(now):
        if isinstance(listed, tuple):
            document["damaged"].append(damaged_document(*listed))
            continue
        name = listed.state.run.id
        run = {
            **run_document(listed.state, store.last_metrics(name), now, listed.watch.seconds),
            **failure_document(listed.watch),
            **kept.get(name, {}),
            "earlier_s": listed.earlier_s,
            "requests": [request_document(request) for request in listed.requests],
            "totals": totals.get(name, RunTotals()),
        }
        document["runs"].append({**run, "to_do": next_action(run, daemon, now)})
    return {**document, "daemon": daemon, "quota": [quota_document(quota) for quota in store.quotas()]}
