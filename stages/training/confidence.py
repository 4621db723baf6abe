"""Confidence interval of a success rate."""

from math import sqrt

Z_95 = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""


def wilson(hits: int, tries: int, z: float = Z_95) -> tuple[float, float]:
    """Compute Wilson's score interval (Wilson 1927, J. Am. Stat. Assoc. 22:209), which holds for
    few tries and rates near 0 or 1.

    Without tries the interval is (0, 1).
    """
    if tries == 0:
        return 0.0, 1.0
    rate, width = hits / tries, z * z / tries
    middle = (rate + width / 2) / (1 + width)
    half = z * sqrt(rate * (1 - rate) / tries + width / (4 * tries)) / (1 + width)
    # The interval must contain the rate: at 0 and 1 a bound equals the rate, apart from rounding.
    return max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half))
