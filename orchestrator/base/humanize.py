"""Formats times and durations for people, in the reader's time zone."""

from datetime import datetime, timedelta, tzinfo


def duration(seconds: float) -> str:
    """Format a duration in its two largest units (in days from 10 days on): `2 d 3 h`, `1 h 0 min`, `5 min`, `42 s`."""
    if seconds < 60:
        return f"{max(0.0, seconds):.0f} s"
    minutes = int(seconds // 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days >= 10:
        return f"{days} d"
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


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
