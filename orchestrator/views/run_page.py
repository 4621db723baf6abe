"""A run's page on the dashboard: its history, files of this disk, the account's quota week, and other runs."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from orchestrator.core.plan import week_of
from orchestrator.engine.home import HomeLayout
from orchestrator.views.artifact_list import artifact_list
from orchestrator.views.history.quota_week import quota_week
from orchestrator.views.run_history import read_history
from state.model.snapshot import QuotaRow
from state.reader import Reader

CHOICES_MAX = 50
"""Maximum number of other runs that are offered for a comparison, newest first."""


def read_run_page(store: Reader, home: HomeLayout, run: str, now: datetime) -> dict[str, Any]:
    """Return the history of a run with `artifacts`, `week` and `others` (ids and states of other runs, newest first).

    Read-only. Raises KeyError for an unknown run, RunDamaged for a damaged one.
    """
    history = read_history(store, home, run, now)
    mine = (history["run"]["owner"], history["run"]["accelerator"])
    quota = next((row for row in store.quotas() if (row.owner, row.accelerator) == mine), None)
    others = [found for found in reversed(store.runs()) if found.id != run]
    return {
        **history,
        "artifacts": artifact_list(home.artifacts(run)),
        "week": quota_week(quota, _used(store, quota, now), history["headline"]["forecast"], now),
        "others": [{"id": found.id, "state": found.status.value} for found in others[:CHOICES_MAX]],
    }


def _used(store: Reader, quota: QuotaRow | None, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield when sessions of the account had a machine, this week: of all runs that share the quota."""
    if quota is not None:
        begin, _ = week_of(quota.refreshes_at, now)
        for found in store.machine_times(quota.owner, quota.accelerator, begin):
            longest = found.began_at + timedelta(seconds=found.limit_s)
            yield found.began_at, min(longest, found.ended_at or now)
