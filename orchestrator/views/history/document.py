"""The whole history of a run as one document of plain values, the only input of its pages. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.core.durations import reported_in
from orchestrator.core.time_classes import TimeGroup
from orchestrator.platforms.names import platform_name
from orchestrator.views.history.checkpoint_chain import checkpoint_chain
from orchestrator.views.history.curves import curves
from orchestrator.views.history.hours import hours, positions_of, session_accounts
from orchestrator.views.history.idle_time import idle_time
from orchestrator.views.history.kaggle_links import kaggle_links
from orchestrator.views.history.results import evaluations, samples, stand_ins_sentence
from orchestrator.views.history.timeline import timeline
from stages.contract import Report
from state.facts.base import Fact
from state.model.metrics import CurvePoint, StepEdges

Key = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class HistorySources:
    """Sources of a history besides the run's status document."""

    facts: Sequence[tuple[datetime, Fact]]
    points: Sequence[CurvePoint] = ()
    edges: Sequence[StepEdges] = ()
    reports: Mapping[Key, Report] = field(default_factory=dict)
    """Final report of each session, by number and attempt."""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Transcripts by the name of the evaluation that wrote them."""
    pipeline: str = "{}"
    """The pipeline as canonical JSON."""


def history_document(run: Mapping[str, Any], sources: HistorySources, now: datetime) -> dict[str, Any]:
    """Return the history of the run whose status document is `run`.

    Keys: `run` (unchanged), `headline`, `stages` (with `begins_at`, the steps before each stage), `boundaries` (steps
    of the pipeline at which sessions began), `curves`, `timeline`, `hours`, `idle_time`, `evaluations`, `samples` (or
    None), `checkpoints`, `versions`, `pipeline`, `kaggle` (addresses of what the run uses there).
    Times are ISO 8601 in UTC, durations are in seconds.
    """
    positions, pipeline = positions_of(run["stages"]), json.loads(sources.pipeline)
    seen = {(found.session, found.attempt): found for found in sources.edges}
    accounts = session_accounts(run, seen, timings_of(sources), positions)
    drawn = timeline(run, sources.facts, accounts, now)
    drawn_s = {TimeGroup(group["key"]): group["seconds"] for group in drawn["groups"]}
    return {
        "at": now.isoformat(),
        "run": dict(run),
        "headline": headline(run),
        "stages": [{**stage, "begins_at": positions[stage["name"]]} for stage in run["stages"]],
        "boundaries": _boundaries(run, positions),
        "curves": curves(sources.points, run["stages"], positions),
        "timeline": drawn,
        "idle_time": idle_time(sources.facts, drawn_s),
        "hours": hours(run, accounts),
        "evaluations": evaluations(run),
        "samples": samples(run, sources.artifacts),
        "checkpoints": checkpoint_chain(run, platform_name(pipeline.get("platform", "kaggle"))),
        "versions": versions(run, sources.reports),
        "pipeline": pipeline,
        "kaggle": kaggle_links(run, pipeline),
    }


def timings_of(sources: HistorySources) -> dict[Key, Mapping[str, float]]:
    """Return the timings of each session: from facts, or from the reports of earlier versions, which stored none."""
    kept = {key: report.timings for key, report in sources.reports.items()}
    return {**kept, **reported_in(fact for _, fact in sources.facts)}


def headline(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary of a run: state, position, expected end, and next action."""
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
        "stand_ins": stand_ins_sentence(run["stages"]),
    }


LIVE = ("pushing", "pushed", "queued", "running")


def _boundaries(run: Mapping[str, Any], positions: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the pipeline step at which each session began."""
    return [
        {
            "session": session["slug"].removeprefix(f"{run['id']}-"),
            "at": positions[session["from"]["stage"]] + session["from"]["step"],
        }
        for session in run["sessions"]
        if session["from"]["stage"] in positions  # not one that was given up before it began, with its stage
    ]


def versions(run: Mapping[str, Any], reports: Mapping[Key, Report]) -> list[dict[str, Any]]:
    """Return every package version that sessions reported, by name, with the sessions that used it."""
    found: dict[tuple[str, str], list[str]] = {}
    for session in run["sessions"]:
        report = reports.get((session["number"], session["attempt"]))
        for name, version in (report.versions if report else {}).items():
            found.setdefault((name, version), []).append(session["slug"].removeprefix(f"{run['id']}-"))
    return [
        {"name": name, "version": version, "first": slugs[0], "last": slugs[-1], "sessions": len(slugs)}
        for (name, version), slugs in sorted(found.items())
    ]
