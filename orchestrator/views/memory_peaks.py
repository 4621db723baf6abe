"""Memory of a run, stage by stage: what its sessions took at most, and what was planned for it in this home."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from orchestrator.core.memory_peaks import peaks_in
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.memory_plans import planned_in
from orchestrator.views.format import size
from stages.session.failure_report import OUT_OF_MEMORY
from state.facts.base import Fact
from state.model.metrics import Metric

PLACES = {"device": "of a device's memory", "host": "of the machine's memory"}


def measured_document(facts: Sequence[tuple[datetime, Fact]], metrics: Iterable[Metric]) -> dict[str, dict[str, Any]]:
    """Return, for each stage that measured any, the peaks and limits in bytes and room for what was planned."""
    peaks = peaks_in((fact for _, fact in facts), metrics)
    nothing = {"device_bytes": None, "device_limit_bytes": None, "host_bytes": None, "host_limit_bytes": None}
    planned = {"planned_device_bytes": None, "planned_host_bytes": None}
    return {stage: {**nothing, **found, **planned} for stage, found in peaks.items()}


def add_planned(runs: list[dict[str, Any]], home: HomeLayout) -> list[dict[str, Any]]:
    """Add to each stage with a peak what `relay plan --memory` planned for the same pipeline in this home."""
    for run in runs:
        if run["memory"]:
            planned = planned_in(home, run["pipeline_digest"])
            for stage, found in run["memory"].items():
                for name, value in planned.get(stage, {}).items():
                    found[f"planned_{name}_bytes"] = value
    return runs


def exhausted(run: dict[str, Any]) -> list[str]:
    """Return sentences about the stage in which a run's last session ran out of memory; empty if it did not."""
    last = run["sessions"][-1] if run["sessions"] else None
    if last is None or last["cause"] != OUT_OF_MEMORY:
        return []
    stage = (last.get("furthest") or run["cursor"])["stage"]
    found = run["memory"].get(stage)
    if not found:
        return [f"{stage}: nothing was measured before it ran out of memory"]
    said = []
    for name, words in PLACES.items():
        used, limit, planned = (found[key] for key in (f"{name}_bytes", f"{name}_limit_bytes", f"planned_{name}_bytes"))
        if used:
            of = f" of {size(limit)}" if limit else ""
            before = f"planned {size(planned)}, " if planned else ""
            said.append(f"{stage}: {before}measured {size(used)}{of} {words}")
    missing = "" if any(found[f"planned_{name}_bytes"] for name in PLACES) else "; relay plan --memory plans it"
    return [f"{line}{missing}" for line in said]
