"""Sentences and cells of a comparison, for the screen and the page."""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.base.humanize import machine_time
from orchestrator.views.history.curves import value_text

LEAST_P = 0.0001
"""P-values below it are only said to be smaller."""


def cell_text(value: Any) -> str:
    """Format a value of a pipeline; a missing one is a dash."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def metric_text(value: float, share: bool) -> str:
    """Format a metric's value."""
    return value_text(value, share)


def steps_per_hour_text(per_hour: float | None) -> str:
    """Format a number of steps an hour."""
    if per_hour is None:
        return "–"
    return f"{per_hour:,.0f}" if per_hour >= 100 else f"{per_hour:.3g}"


def points_text(change: float) -> str:
    """Format a difference between two shares: `+4.2 points`."""
    return f"{100 * change:+.1f} points".replace("-", "−")


def p_text(p: float) -> str:
    """Format a p-value with two digits."""
    return f"p < {LEAST_P:.4f}" if p < LEAST_P else f"p = {p:.2g}"


def accuracy_text(value: Mapping[str, Any] | None) -> str:
    """Format an accuracy with its 95 % interval and its number of problems."""
    if value is None:
        return "–"
    reach = f" ({100 * value['low']:.1f} to {100 * value['high']:.1f} %)" if value["low"] is not None else ""
    asked = f" of {value['asked']:,.0f}" if value["asked"] else ""
    so_far = ", so far" if value["done"] < value["target"] else ""
    return f"{100 * value['accuracy']:.1f} %{reach}{asked}{so_far}"


def significance_text(test: Mapping[str, Any]) -> str:
    """Describe the test of one evaluation of a run against one of the first run."""
    same_name = test["stage"] == test["with_stage"]
    what = test["stage"] if same_name else f"{test['stage']} and {test['with_stage']}"
    change = points_text(test["difference"])
    if test["test"] is None:
        return f"{what}: {test['run']} {change} against {test['with']}; no test, since the number of answers is unknown"
    tested = f"{p_text(test['p'])} ({test['test']})"
    if not test["paired"]:
        asked = f"{test['asked']:,} and {test['asked_with']:,} answers"
        return f"{what}: {test['run']} {change} against {test['with']}; unpaired, {asked}: {tested}"
    return (
        f"{what}: {test['run']} {change} against {test['with']} on {_same_problems(test)}; it alone solved "
        f"{test['only_run']:,}, {test['with']} alone {test['only_with']:,}; {tested}"
    )


def _same_problems(test: Mapping[str, Any]) -> str:
    same = f"{test['problems']:,} same problem{'' if test['problems'] == 1 else 's'}"
    if test["problems"] == test["asked"] == test["asked_with"]:
        return same
    return f"{same} (of {test['asked']:,} and {test['asked_with']:,} asked)"


def weights_text(found: Mapping[str, Any]) -> str:
    """Say whether two runs have the same weights, and where they last had."""
    run, other = found["run"], found["with"]
    absent = [name for name, at in ((run, found["newest"]), (other, found["newest_with"])) if at is None]
    if absent:
        have = "has" if len(absent) == 1 else "have"
        return f"{run} and {other}: not compared, since {' and '.join(absent)} {have} no checkpoint"
    if found["equal"] is None:
        return f"{run} and {other}: not compared, since a checkpoint names no digest of its contents"
    at, at_other = (f"{place['stage']}:{place['step']}" for place in (found["newest"], found["newest_with"]))
    newest = f"{run} at {at} and {other} at {at_other}"
    if found["equal"]:
        return f"{newest}: the same weights, bit for bit"
    return f"{newest}: different weights; {_earlier_text(found)}"


def _earlier_text(found: Mapping[str, Any]) -> str:
    if last := found["last_equal"]:
        return f"at {last['stage']}:{last['step']} they were still the same"
    if found["shared"]:
        return f"no checkpoint is the same among {found['shared']} at the same steps"
    return "they have no checkpoint at the same step"


def gain_text(gain: Mapping[str, Any], run: str) -> str:
    """Say what the hours between two evaluations bought."""
    change = f"{run}: {points_text(gain['change'])} from {gain['from']} to {gain['to']}"
    if gain["quota_s"] is None or gain["per_hour"] is None:
        return f"{change}; the quota in between is unknown"
    return f"{change} in {machine_time(gain['quota_s'])} of quota: {points_text(gain['per_hour'])} an hour"
