"""Formats of values in pages: durations, times, sizes, shares. Each returns text, or markup with escaped contents."""

from datetime import datetime
from typing import Any

from markupsafe import Markup

from orchestrator.views.format import size
from orchestrator.views.tables import ending

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
STATES = {"active": "▶", "waiting": "◷", "parked": "⚠", "finished": "✓", "cancelled": "✕"}
"""Symbol of each state, so that it is not conveyed by colour alone."""


def duration(seconds: float | None) -> str:
    """Format a duration with its two largest units: `4 min 5 s`, `3 h 12 min`, `12 d 4 h`."""
    if seconds is None:
        return "–"
    if 0 < seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for length_s, unit in UNITS:
        count, left = divmod(left, length_s)
        if count or parts:
            parts.append((count, unit))
    shown = [f"{count} {unit}" for count, unit in parts[:2] if count]
    return " ".join(shown) or "0 s"


def hours(seconds: float) -> str:
    """Format machine time, in hours instead of days, as quota is counted."""
    if seconds < 86_400:
        return duration(seconds)
    count, left_s = divmod(round(seconds), 3600)
    return f"{count:,} h {left_s // 60} min"


def sentence(text: str) -> str:
    """Turn a clause into a sentence with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def when(iso: str | None) -> Markup | str:
    """Format a UTC time as an HTML time element."""
    if iso is None:
        return "–"
    at = datetime.fromisoformat(iso)
    return Markup('<time datetime="{}">{}</time>').format(iso, f"{at:%Y-%m-%d %H:%M} UTC")


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


FILTERS = {
    "bytes": size,
    "cursor": cursor,
    "duration": duration,
    "ending": ending,
    "hours": hours,
    "number": number,
    "percent": percent,
    "points": points,
    "sentence": sentence,
    "sign": STATES.__getitem__,
    "when": when,
}
