"""Formats durations, ages, times of day and counts for people: the only place that does so."""

from datetime import UTC, datetime, timedelta, tzinfo

from stages.session.duration_text import duration as duration


def counted(number: int, noun: str, many: str = "") -> str:
    """Format a count with its noun: `1 step`, `1,200 steps`; `many` is an irregular plural."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def machine_time(seconds: float) -> str:
    """Format time on a machine, in hours instead of days, as quota is counted: `28 h 30 min`."""
    return duration(seconds, longest_unit="h")


def bounded_s(lasted: timedelta, most_s: float) -> float:
    """Return a clock difference in seconds, limited to 0..`most_s` in case the clock was set in between."""
    return min(most_s, max(0.0, lasted.total_seconds()))


def relative(at: datetime, now: datetime) -> str:
    """Format the distance to a time: `in 3 h 20 min`, `4 min ago`, `now`."""
    seconds = (at - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def local_time(at: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """Format a time in the reader's zone (or `zone`), with as much of the date as is needed: `17:40`, `Sat 17:40`."""
    local, today = at.astimezone(zone), now.astimezone(zone).date()
    days = abs((local.date() - today).days)
    if days == 0:
        return f"{local:%H:%M}"
    if days < 7 and local.date() > today:
        return f"{local:%a %H:%M}"
    return f"{local.day} {local:%b %H:%M}" if local.year == today.year else f"{local.day} {local:%b %Y %H:%M}"


def when(at: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """Format a time both absolutely and relatively: `17:40 (in 3 h 20 min)`."""
    return f"{local_time(at, now, zone)} ({relative(at, now)})"


def utc_time(at: datetime) -> str:
    """Format a time for logs, messages and pages, whose readers' zones are unknown: `2026-12-02 04:31 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def clock_of_day(at: datetime) -> str:
    """Format the time of day in this machine's zone, for lines that are printed as things happen: `17:40:05`."""
    return f"{at.astimezone():%H:%M:%S}"


def log_time(at: datetime) -> str:
    """Format the time of a log's line: `2026-12-02T04:31:07Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
