"""Times and durations as people say them, in the zone of whoever reads them."""

from datetime import datetime, timedelta, tzinfo


def duration(seconds: float) -> str:
    """A duration in its two largest units: `2 d 3 h` (of more than ten days only those), `1 h 0 min`, `5 min`, `42 s`."""
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
    """Seconds of a difference of two clock times, which a clock that was set may have made negative or far too long."""
    return min(most_s, max(0.0, lasted.total_seconds()))


def relative(at: datetime, now: datetime) -> str:
    """How far off a time is: `in 3 h 20 min`, `4 min ago`, `now`."""
    seconds = (at - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def local_time(at: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """A time on the reader's own clock (or in `zone`), with as much of the date as is needed: `17:40`, `Sat 17:40`."""
    local, today = at.astimezone(zone), now.astimezone(zone).date()
    days = abs((local.date() - today).days)
    if days == 0:
        return f"{local:%H:%M}"
    if days < 7 and local.date() > today:
        return f"{local:%a %H:%M}"
    return f"{local.day} {local:%b %H:%M}" if local.year == today.year else f"{local.day} {local:%b %Y %H:%M}"


def when(at: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """Both: `17:40 (in 3 h 20 min)`."""
    return f"{local_time(at, now, zone)} ({relative(at, now)})"
