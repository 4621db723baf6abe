"""Quota that a run used for each stage, and what it gained in that time. Pure."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from orchestrator.views.history.compared_run import ComparedRun

HOUR_S = 3600.0


def hours_bought(run: ComparedRun) -> dict[str, Any]:
    """Return the quota of a run by stage, and the accuracy gained from each of its evaluations to the next.

    A stage's seconds begin where the stage before it ended, so they include the start-up of its sessions and what was
    lost in them. `after_s` is what was used after the last step. `gains` end with the whole way if there are more than
    two evaluations; `per_hour` is in shares of the problems per hour of quota.
    """
    stages, before_s = [], 0.0
    for stage in run.stages:
        end_s = run.clock.at(stage["name"], stage["seen"])
        if end_s is None:
            continue
        spent_s, before_s = max(0.0, end_s - before_s), max(before_s, end_s)
        stages.append({"name": stage["name"], "steps": stage["seen"], "quota_s": round(spent_s, 3)})
    return {
        "run": run.id,
        "quota_s": round(run.clock.total_s, 3),
        "stages": stages,
        "after_s": round(max(0.0, run.clock.total_s - before_s), 3),
        "gains": list(_gains(run)),
        "steps_per_hour": _per_hour(run.document["steps_done"], run.clock.total_s),
    }


def _gains(run: ComparedRun) -> Iterator[dict[str, Any]]:
    finished = [stage for stage in run.evaluations if stage["seen"] >= stage["target"]]
    pairs = list(pairwise(finished))
    if len(pairs) > 1:
        pairs.append((finished[0], finished[-1]))
    for before, after in pairs:
        yield _gain(run, before, after)


def _gain(run: ComparedRun, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    begin_s, end_s = (run.clock.at(stage["name"], stage["target"]) for stage in (before, after))
    quota_s = None if begin_s is None or end_s is None else max(0.0, end_s - begin_s)
    change = after["metrics"]["accuracy"] - before["metrics"]["accuracy"]
    return {
        "from": before["name"],
        "to": after["name"],
        "change": change,
        "quota_s": None if quota_s is None else round(quota_s, 3),
        "per_hour": None if quota_s is None else _per_hour(change, quota_s),
    }


def _per_hour(amount: float, quota_s: float) -> float | None:
    return amount / quota_s * HOUR_S if quota_s > 0 else None
