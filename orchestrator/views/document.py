"""The status as one stable JSON document (see docs/status.md), from which all other views of a run are drawn."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.base import process_id
from orchestrator.engine.home import HomeLayout
from orchestrator.views.brief_list import brief_list
from orchestrator.views.curves import Curves
from orchestrator.views.lost import damaged_document, lost_documents
from orchestrator.views.next_action import next_action
from orchestrator.views.open_run_forecast import open_run_forecast
from orchestrator.views.run_choice import EVERY_RUN, RunChoice, most_urgent
from orchestrator.views.run_document import failure_document, request_document, run_document
from state.failures import StoreCorrupt, StoreGone
from state.leases import Lease
from state.model.snapshot import QuotaRow
from state.reader import Reader

FORMAT = 1
CURVE_POINTS = 40


def status_document(
    store: Reader | None,
    home: Path,
    now: datetime,
    run: str | None = None,
    warnings: Sequence[str] = (),
    alive: Callable[[str], bool | None] = process_id.is_alive,
    choice: RunChoice = EVERY_RUN,
) -> dict[str, Any]:
    """Describe every run (or one) of a home folder, and the quota as last read. Only the database, evidence and
    `memory-plans` are read.

    `choice` selects runs; with `most` the time does not grow with the number of runs. In a list (`brief` or `most`) runs
    are described in brief (see `brief_list`) unless there is only one. A damaged
    run is listed apart from the others; if it is the requested one, RunDamaged is raised. `alive` returns whether the
    daemon's process runs, None if unknown.
    """
    runs: list[dict[str, Any]] = []
    damaged: list[dict[str, Any]] = []
    daemon, others, unforecast = None, 0, 0
    quotas: list[QuotaRow] = []
    if store is not None:
        daemon = daemon_document(store.lease(), now, alive)
        names, others = ([run], 0) if run is not None else _chosen(store, choice)
        if (choice.brief or choice.most is not None) and len(names) != 1:
            brief = brief_list(store, names, now, daemon, home)
            runs, damaged, unforecast = brief.runs, brief.damaged, brief.unforecast
        else:
            runs, damaged = _in_full(store, names, now, daemon, home, one=run is not None)
        quotas = store.quotas()
    return {
        "format": FORMAT,
        "home": str(home),
        "at": _time(now),
        "warnings": list(warnings),
        "daemon": daemon,
        "runs": runs,
        "damaged": damaged,
        "lost": [] if run is not None else lost_documents(store, HomeLayout(home)),
        "others": others,
        "unforecast": unforecast,
        "quota": [quota_document(q) for q in quotas],
    }


def _chosen(store: Reader, choice: RunChoice) -> tuple[list[str], int]:
    """Return the ids of the chosen runs, oldest first, and the number of others that only `most` leaves out."""
    if choice.filters:
        taken = [run for run in store.runs() if choice.takes(run)]
        names = most_urgent(taken, choice.most)
        return names, len(taken) - len(names)
    if choice.most is not None:
        return store.by_priority(choice.most)
    return [name for name, _ in store.run_names()], 0


def curves_of(store: Reader | None, document: dict[str, Any]) -> dict[str, Curves]:
    """Return the values of each metric of each stage over the steps, by run, if exactly one run is shown."""
    if store is None or len(document["runs"]) != 1:
        return {}
    run = document["runs"][0]["id"]
    found: dict[tuple[str, str], list[float]] = {}
    for point in store.series(run, CURVE_POINTS):
        found.setdefault((point.stage, point.name), []).append(point.value)
    return {run: found}


def _in_full(
    store: Reader, names: Sequence[str], now: datetime, daemon: dict[str, Any] | None, home: Path, *, one: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the documents of the runs and of the damaged ones; RunDamaged is raised for `one` that was requested."""
    from orchestrator.views.memory_peaks import add_planned

    runs, damaged = [], []
    for name in names:
        try:
            runs.append(_run(store, name, now, daemon, home))
        except StoreCorrupt as error:
            if one or isinstance(error, StoreGone):
                raise
            damaged.append(damaged_document(name, error))
    return add_planned(runs, HomeLayout(home)), damaged


def _run(store: Reader, name: str, now: datetime, daemon: dict[str, Any] | None, home: Path) -> dict[str, Any]:
    from orchestrator.views.log_document import log_document  # on use: lists need no facts, which are slow to import

    state, facts = store.load_with_facts(name)
    watch = store.watch(name)
    metrics = store.last_metrics(name)
    found = {
        **run_document(state, metrics, now, watch.seconds),
        **log_document(state, facts, metrics),
        **failure_document(watch),
        **open_run_forecast(store, state, now, home),
        "requests": [request_document(request) for request in store.requests(name)],
    }
    return {**found, "to_do": next_action(found, daemon, now)}


def daemon_document(
    lease: Lease | None, now: datetime, alive: Callable[[str], bool | None] = process_id.is_alive
) -> dict[str, Any] | None:
    """Describe the daemon that executes the runs, or the last one.

    A lease that has not expired counts as running unless its process is known to be gone.
    """
    if lease is None:
        return None
    host, pid, _ = process_id.split_holder(lease.holder)
    runs = lease.held(now, alive(lease.holder))
    return {"runs": runs, "host": host, "pid": pid, "lease_until": _time(lease.expires_at)}


def quota_document(quota: QuotaRow) -> dict[str, Any]:
    return {
        "owner": quota.owner,
        "accelerator": quota.accelerator,
        "used_s": quota.used_s,
        "reserved_s": quota.reserved_s,
        "total_s": quota.total_s,
        "left_s": quota.left_s,
        "refreshes_at": _time(quota.refreshes_at),
        "read_at": _time(quota.read_at),
        "assumed": quota.assumed,
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
