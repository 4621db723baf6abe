"""How sure a share is: the interval in which the true rate lies, given so many hits among so many tries."""

from math import sqrt

Z_95 = 1.959964
"""Two-sided 95 % of the normal distribution."""


def wilson(hits: int, tries: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval (Wilson 1927, J. Am. Stat. Assoc. 22:209): sound for few tries and rates near 0 or 1.

    Without a try nothing is known: (0, 1).
    """
    if tries == 0:
        return 0.0, 1.0
    rate, width = hits / tries, z * z / tries
    middle = (rate + width / 2) / (1 + width)
    half = z * sqrt(rate * (1 - rate) / tries + width / (4 * tries)) / (1 + width)
    # Never past the share itself: at 0 and 1 the bound is the share, but for rounding.
    return max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half))
