"""Formats of values in pages: durations, times, sizes, shares. Each returns text, or markup with escaped contents."""

from collections.abc import Callable
from typing import Any

from orchestrator.base.humanize import duration, machine_time
from orchestrator.platforms.names import platform_name
from orchestrator.views.comparison_text import (
    accuracy_text,
    cell_text,
    metric_text,
    significance_text,
    steps_per_hour_text,
    weights_text,
)
from orchestrator.views.format import size
from orchestrator.views.pages import times
from orchestrator.views.tables import outcome_text

STATES = {"active": "▶", "waiting": "◷", "parked": "⚠", "finished": "✓", "cancelled": "✕"}
"""Symbol of each state, so that it is not conveyed by colour alone."""


def duration_or_dash(seconds: float | None) -> str:
    """Format a duration, or a dash if it is unknown."""
    return "–" if seconds is None else duration(seconds)


def sentence(text: str) -> str:
    """Turn a clause into a sentence with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


EXCERPT_LINES = 8
"""Number of lines at the end of a log that are shown unfolded: a traceback's last lines name the error."""


def last_lines(text: str) -> dict[str, Any]:
    """Split a log's end into its `last` lines, the lines `before` them, and their `count`."""
    lines = text.rstrip().splitlines()
    before = lines[:-EXCERPT_LINES]
    return {"last": "\n".join(lines[-EXCERPT_LINES:]), "before": "\n".join(before), "count": len(before)}


def percent(share: float | None) -> str:
    """Format a share as a percentage."""
    if share is None:
        return "–"
    return f"{100 * share:.0f} %" if share in (0, 1) else f"{100 * share:.1f} %"


def points(change: float | None) -> str:
    """Format a difference between two shares as percentage points, with its sign."""
    if change is None:
        return "–"
    text = f"{100 * change:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def number(value: float) -> str:
    """Format a measured value with four digits."""
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"


def cursor(place: dict[str, Any] | None) -> str:
    """Format a cursor as stage and step."""
    return "–" if place is None else f"{place['stage']} {place['step']:,}"


FILTERS: dict[str, Callable[..., Any]] = {
    "accuracy": accuracy_text,
    "bytes": size,
    "cell": cell_text,
    "cursor": cursor,
    "duration": duration_or_dash,
    "ending": outcome_text,
    "last_lines": last_lines,
    "machine_time": machine_time,
    "metric": metric_text,
    "number": number,
    "percent": percent,
    "platform": platform_name,
    "points": points,
    "sentence": sentence,
    "sign": STATES.__getitem__,
    "steps_per_hour": steps_per_hour_text,
    "tested": significance_text,
    "weights": weights_text,
    **times.FILTERS,
}
