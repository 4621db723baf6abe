"""A run's whole history as one document of plain values; pages are drawn from it and from nothing else. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.core.durations import reported_in
from orchestrator.views.history.curves import curves
from orchestrator.views.history.custody import custody
from orchestrator.views.history.hours import hours, positions_of
from orchestrator.views.history.idle_time import outside
from orchestrator.views.history.results import evaluations, samples, stand_ins_told
from orchestrator.views.history.timeline import timeline
from stages.contract import Report
from state.facts import Fact
from state.model import CurvePoint, StepEdges

Key = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class HistorySources:
    """What a history is made from, beside the run's document."""

    facts: Sequence[tuple[datetime, Fact]]
    points: Sequence[CurvePoint] = ()
    edges: Sequence[StepEdges] = ()
    reports: Mapping[Key, Report] = field(default_factory=dict)
    """By number and attempt: what sessions said of themselves at their end."""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Transcripts by the name of the evaluation that wrote them."""
    pipeline: str = "{}"
    """Canonical JSON."""


def history_document(run: Mapping[str, Any], sources: HistorySources, now: datetime) -> dict[str, Any]:
    """The history of the run whose status document is `run`.

    `run` (as it came), `headline`, `stages` (with `begins_at`, the steps before each), `boundaries` (where sessions began, in
    steps of the pipeline), `curves`, `timeline`, `hours`, `outside`, `evaluations`, `samples` (or None), `custody`, `versions`,
    `pipeline`. Times are ISO 8601 in UTC, durations seconds.
    """
    positions = positions_of(run["stages"])
    seen = {(found.session, found.attempt): found for found in sources.edges}
    drawn = timeline(run, sources.facts, seen, now)
    return {
        "at": now.isoformat(),
        "run": dict(run),
        "headline": headline(run),
        "stages": [{**stage, "begins_at": positions[stage["name"]]} for stage in run["stages"]],
        "boundaries": _boundaries(run, positions),
        "curves": curves(sources.points, run["stages"], positions),
        "timeline": drawn,
        "outside": outside(run, sources.facts, drawn),
        "hours": hours(run, seen, timings_of(sources), positions),
        "evaluations": evaluations(run),
        "samples": samples(run, sources.artifacts),
        "custody": custody(run),
        "versions": versions(run, sources.reports),
        "pipeline": json.loads(sources.pipeline),
    }


def timings_of(sources: HistorySources) -> dict[Key, Mapping[str, float]]:
    """What sessions measured: as it was written down, or, by an older relay, only kept with their reports."""
    kept = {key: report.timings for key, report in sources.reports.items()}
    return {**kept, **reported_in(fact for _, fact in sources.facts)}


def headline(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a person reads first: the state, where it is, when it will be done, and what to do."""
    live = next((session for session in reversed(run["sessions"]) if session["phase"] in LIVE), None)
    return {
        "state": run["state"],
        "stage": run["cursor"]["stage"],
        "step": run["cursor"]["step"],
        "steps_done": run["steps_done"],
        "steps_seen": max(run["steps_done"], sum(stage["seen"] for stage in run["stages"])),
        "steps_total": run["steps_total"],
        "session": live,
        "forecast": run["forecast"],
        "forecast_problem": run["forecast_problem"],
        "ended_at": run["updated_at"] if run["state"] in ("finished", "cancelled") else None,
        "reason": run["reason"],
        "excerpt": run["excerpt"],
        "failure": run["failure"],
        "retry_at": run["retry_at"],
        "waiting_until": run["waiting_until"],
        "to_do": run["to_do"],
        "stand_ins": stand_ins_told(run["stages"]),
    }


LIVE = ("pushing", "pushed", "queued", "running")


def _boundaries(run: Mapping[str, Any], positions: Mapping[str, int]) -> list[dict[str, Any]]:
    """Where on the pipeline's steps each session began."""
    return [
        {
            "session": session["slug"].removeprefix(f"{run['id']}-"),
            "at": positions[session["from"]["stage"]] + session["from"]["step"],
        }
        for session in run["sessions"]
    ]


def versions(run: Mapping[str, Any], reports: Mapping[Key, Report]) -> list[dict[str, Any]]:
    """Every version that sessions reported, by name, with the sessions that had it; one that changed has several rows."""
    found: dict[tuple[str, str], list[str]] = {}
    for session in run["sessions"]:
        report = reports.get((session["number"], session["attempt"]))
        for name, version in (report.versions if report else {}).items():
            found.setdefault((name, version), []).append(session["slug"].removeprefix(f"{run['id']}-"))
    return [
        {"name": name, "version": version, "first": slugs[0], "last": slugs[-1], "sessions": len(slugs)}
        for (name, version), slugs in sorted(found.items())
    ]
