"""Compare two evaluations of the same problems, problem by problem."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

Z_95 = 1.96
"""Quantile of the normal distribution for a 95 % interval, which holds from some thirty problems on."""


@dataclass(frozen=True)
class Gain:
    """Mean difference over the problems that both evaluations asked, with half the width of its 95 % interval."""

    mean: float
    half_width: float
    problems: int

    @property
    def is_positive(self) -> bool:
        """True if the whole interval lies above zero."""
        return self.mean > self.half_width

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.half_width:.3f} over {self.problems} problems"


def gain(before: Mapping[str, float], after: Mapping[str, float]) -> Gain:
    """Return the mean of after minus before over the problems (keys) in both, each counted once.

    The interval is 1.96 standard errors of the mean difference. It is narrower than that of two separate samples,
    because how hard a problem is affects both. Raises ValueError with fewer than two problems in common.
    """
    shared = sorted(before.keys() & after.keys())
    if len(shared) < 2:
        raise ValueError(f"{len(shared)} problems are in both evaluations: at least two are needed")
    differences = [after[key] - before[key] for key in shared]
    return Gain(fmean(differences), Z_95 * stdev(differences) / math.sqrt(len(differences)), len(differences))


def averaged(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each problem's mean over several runs, of the problems that all of them have.

    A problem asked in every run is still one problem: counting it once for each would make intervals too narrow.
    """
    shared = set.intersection(*(set(run) for run in runs)) if runs else set()
    return {key: fmean(run[key] for run in runs) for key in sorted(shared)}
