"""Progress bars and small curves drawn with characters."""

from collections.abc import Mapping, Sequence

Curves = Mapping[tuple[str, str], Sequence[float]]
"""Values over the steps by (stage, metric), a few dozen at most."""

HEIGHTS = "▁▂▃▄▅▆▇█"
DONE, TO_COME = "█", "░"


def bar(done: float, total: float, columns: int) -> str:
    """Draw a progress bar. It is full only once everything is done, and not empty once anything is."""
    share = done / total if total > 0 else 1.0
    filled = min(columns, int(share * columns))
    if share < 1:
        filled = min(columns - 1, max(filled, 1 if done > 0 else 0))
    return DONE * filled + TO_COME * (columns - filled)


def curve(values: Sequence[float], columns: int) -> str:
    """Draw values as a curve, scaled between their minimum and maximum; empty for fewer than two finite values.

    A column shows the last of the values that fall into it.
    """
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    if len(finite) < 2:
        return ""
    width = min(columns, len(finite))
    drawn = [finite[(index + 1) * len(finite) // width - 1] for index in range(width)]
    low, high = min(drawn), max(drawn)
    if high == low:
        return HEIGHTS[0] * width
    return "".join(HEIGHTS[round((value - low) / (high - low) * (len(HEIGHTS) - 1))] for value in drawn)
