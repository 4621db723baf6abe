"""Seeded variation of the times of simulated sessions."""

import hashlib
import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class TimingVariation:
    """Variation of a session's times. Shares are standard deviations of the logarithm: 0.1 is roughly ±10 per cent."""

    seed: int = 0
    uneven: float = 0.0
    """Variation from step to step."""
    machine: float = 0.0
    """Variation from session to session: some machines are slower in everything."""
    first_s: float = 0.0
    """Extra seconds of a stage's first step in a session."""

    def step(self, slug: str, position: int, step_s: float) -> float:
        """Return the seconds that this step takes in this session; `step_s` is the average."""
        return step_s * self.slow(slug) * _random_factor(self.uneven, f"{self.seed}/{slug}/{position}")

    def slow(self, slug: str) -> float:
        """Return the factor by which everything in this session is slower (or faster) than usual."""
        return _random_factor(self.machine, f"{self.seed}/{slug}")


FACTOR_MAX = 2.0
"""Upper bound of the random factors, so that a session with room for an average step has room for every step."""


def _random_factor(deviation: float, key: str) -> float:
    """Return a random factor with mean 1 that depends only on the key."""
    if not deviation:
        return 1.0
    drawn = (int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") + 0.5) / 2**48
    return min(FACTOR_MAX, math.exp(NormalDist(-(deviation**2) / 2, deviation).inv_cdf(drawn)))
