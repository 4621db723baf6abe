"""The one format of durations: in a session's log, and on every screen and page of the laptop."""

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
SHORT_S = 10.0
"""Duration in seconds below which two significant digits are shown."""
SHORTEST_S = 0.001
"""Shortest duration in seconds that differs from none."""
ROUNDING_S = 1e-6
"""Error of a sum of floating-point seconds that must not turn a whole minute into 59 seconds."""


def duration(seconds: float, longest_unit: str = "d") -> str:
    """Format a duration in its two largest units, rounded down: `2 d 3 h`, `1 h`, `4 min 5 s`, `42 s`, `0.25 s`.

    Units that are zero are left out. A negative duration is shown as none. With `longest_unit` "h" there are no days.
    """
    if seconds < SHORT_S:
        return f"{float(f'{seconds:.2g}'):g} s" if seconds >= SHORTEST_S else "0 s"
    left, parts = int(seconds + ROUNDING_S), list[str]()
    units = UNITS if longest_unit == "d" else UNITS[1:]
    for length_s, unit in units:
        count, left = divmod(left, length_s)
        parts += [f"{count:,} {unit}" if count else ""] if count or parts else []
    return " ".join(part for part in parts[:2] if part)
