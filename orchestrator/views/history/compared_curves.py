"""Metrics of several runs over the same axes: steps of the pipeline, and hours of quota. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.views.history.compared_hours import HOUR_S
from orchestrator.views.history.compared_run import ComparedRun
from orchestrator.views.history.curves import curves, is_wide, value_text


def compared_curves(runs: Sequence[ComparedRun]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a curve for each metric that at least two runs reported, and sentences on those of one run alone.

    A curve has one line for each run and stage, with its positions both in steps and in hours of quota. `ends` has the
    first and the last value of each line.
    """
    drawn = {run.id: {found["name"]: found for found in curves(run.points, run.stages, run.positions)} for run in runs}
    names = list(dict.fromkeys(name for found in drawn.values() for name in found))
    shared = [name for name in names if sum(name in found for found in drawn.values()) > 1]
    alone = [
        f"only {run.id} has reported {', '.join(missed)}"
        for run in runs
        if (missed := [name for name in drawn[run.id] if name not in shared])
    ]
    alone += [f"{run.id} has not reported a step" for run in runs if not drawn[run.id]]
    return [_curve(runs, [drawn[run.id].get(name) for run in runs]) for name in shared], alone


def _curve(runs: Sequence[ComparedRun], found: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    any_one = next(curve for curve in found if curve is not None)
    lines = [
        {"run": run.id, **line, "hours": _hours(run, line)}
        for run, curve in zip(runs, found, strict=True)
        for line in (curve["lines"] if curve else ())
    ]
    share = any_one["share"]
    ends = [_ends(line) for line in lines]
    return {
        **{key: any_one[key] for key in ("name", "title", "main", "share")},
        "logarithmic": not share and is_wide(lines),
        "sentence": _sentence(any_one["title"], ends, share),
        "lines": lines,
        "ends": ends,
    }


def _hours(run: ComparedRun, line: Mapping[str, Any]) -> list[float]:
    """Return the hours of quota at each point of a line. Its steps were all seen, so each has a time."""
    stage = line["stage"]
    times = [run.clock.at(stage, at - run.positions[stage]) for at in line["at"]]
    return [round((seconds or 0.0) / HOUR_S, 6) for seconds in times]


def _ends(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run": line["run"],
        "stage": line["stage"],
        "points": len(line["at"]),
        "first": line["value"][0],
        "last": line["value"][-1],
        "low": min(line["low"]),
        "high": max(line["high"]),
        "step": line["at"][-1],
        "hours": line["hours"][-1],
    }


def _sentence(title: str, ends: Sequence[Mapping[str, Any]], share: bool) -> str:
    """Describe the curve for users who cannot see it: the last stage of each run that reported it."""
    last = {end["run"]: end for end in ends}
    told = [
        f"{run} from {value_text(end['first'], share)} to {value_text(end['last'], share)} in {end['stage']}"
        for run, end in last.items()
    ]
    return f"{title}: {'; '.join(told)}."
