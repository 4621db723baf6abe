"""Times in pages: elements that say UTC, and that `times.js` turns into the reader's own time and keeps counting."""

from collections.abc import Callable
from datetime import UTC, datetime

from markupsafe import Markup

from orchestrator.base.humanize import duration, utc_time

UNKNOWN = "–"


def time_element(iso: str | None) -> Markup | str:
    """Return a time as an element: UTC without the script, with it the reader's zone and UTC as its title.

    `iso` is an ISO 8601 time with its offset; None is shown as a dash.
    """
    return UNKNOWN if iso is None else Markup('<time datetime="{}">{}</time>').format(iso, _utc(iso))


def weekday_element(iso: str) -> Markup:
    """Return a time with its day of the week, as `time_element` does: `Wed 2026-12-02 05:31`."""
    shown = f"{datetime.fromisoformat(iso).astimezone(UTC):%a} {_utc(iso)}"
    return Markup('<time datetime="{}" data-as="weekday">{}</time>').format(iso, shown)


def counted_time_element(iso: str | None) -> Markup | str:
    """Return a time to which the script adds its distance from now: `2026-12-02 05:31 (in 3 h 20 min)`.

    The distance is never part of the HTML, where it would stay as it was when the page was made.
    """
    return UNKNOWN if iso is None else Markup('<time datetime="{}" data-counts>{}</time>').format(iso, _utc(iso))


def elapsed_element(seconds: float | None, since: str | None, most_s: float) -> Markup | str:
    """Return a duration that the script of a live page keeps counting from `since`, from nothing to `most_s`.

    `seconds` is the duration when the page was made; it is shown without the script, and in reports.
    """
    if seconds is None or since is None:
        return UNKNOWN
    shown = duration(min(max(0.0, seconds), most_s))
    return Markup('<span data-since="{}" data-most="{}">{}</span>').format(since, most_s, shown)


def _utc(iso: str) -> str:
    return utc_time(datetime.fromisoformat(iso))


FILTERS: dict[str, Callable[..., Markup | str]] = {
    "when": time_element,
    "when_weekday": weekday_element,
    "when_counted": counted_time_element,
    "elapsed": elapsed_element,
}
