"""An estimated duration with its bounds, and the estimate of a step from what sessions reported. Pure."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import Literal, assert_never

from state.model.metrics import StepSeen

Basis = Literal["measured", "computed", "expected", "assumed"]


class TimeSource(Enum):
    """Source of an estimated duration. The order is that of preference: `best` takes the first that has a figure."""

    THIS_RUN = "this run"
    OTHER_RUN = "another run"
    PROBE = "probe"
    SCALED = "scaled"
    PIPELINE = "pipeline"
    OTHER_OPTIONS = "other options"
    WORK_MODEL = "work model"
    ASSUMED = "assumed"


PREFERENCE = tuple(TimeSource)
BASES: dict[TimeSource, Basis] = {
    TimeSource.SCALED: "computed",
    TimeSource.PIPELINE: "expected",
    TimeSource.WORK_MODEL: "computed",
    TimeSource.ASSUMED: "assumed",
}
"""Basis of an estimate by source; all others are measured."""

EXPECTED_SHARE = 0.25
"""Assumed relative error of a duration that the pipeline states."""
MEASURED_SHARE = 0.05
"""Minimum relative error of a measured duration; doubled if only one session, on one machine, measured it."""
INTERVALS_MIN = 3
"""Minimum number of step intervals for an estimate."""
INTERVALS_ENOUGH = 30
"""Number of step intervals above which a session gets no more weight in the mean."""
OUTLIER_FACTOR = 2.0
"""Factor from the median beyond which a step is an outlier: interrupted by a save, or reported late by the log."""


@dataclass(frozen=True)
class Estimate:
    """Typical, lowest and highest duration in seconds, and the source of the estimate."""

    usual_s: float
    low_s: float
    high_s: float
    source: TimeSource = TimeSource.ASSUMED
    detail: str = ""
    """Details of the source: the run that measured it, the stage that stands for this one, the pipeline's words."""

    @classmethod
    def around(cls, usual_s: float, share: float, source: TimeSource, detail: str = "") -> "Estimate":
        """Return an estimate of `usual_s`, plus or minus `share` of it."""
        return cls(usual_s, usual_s * (1 - share), usual_s * (1 + share), source, detail)

    @property
    def basis(self) -> Basis:
        """Kind of the source."""
        return BASES.get(self.source, "measured")

    def times(self, factor: float) -> "Estimate":
        """Return this estimate multiplied by `factor`."""
        return replace(self, usual_s=self.usual_s * factor, low_s=self.low_s * factor, high_s=self.high_s * factor)

    def of(self, source: TimeSource, detail: str = "") -> "Estimate":
        """Return this estimate with another source."""
        return replace(self, source=source, detail=detail)

    @property
    def words(self) -> str:
        """The source in words, such as `measured in gsm-0001`."""
        match self.source:
            case TimeSource.THIS_RUN:
                return f"measured for {self.detail}" if self.detail else "measured in this run"
            case TimeSource.OTHER_RUN:
                return f"measured in {self.detail}"
            case TimeSource.OTHER_OPTIONS:
                return f"measured in {self.detail}, with other options"
            case TimeSource.PROBE:
                return f"measured by relay probe in {self.detail}" if self.detail else "measured on this account"
            case TimeSource.SCALED:
                return f"measured for {self.detail}, scaled to the work of these steps"
            case TimeSource.WORK_MODEL:
                return f"computed by relay's model of the work{f' ({self.detail})' if self.detail else ''}"
            case TimeSource.PIPELINE:
                return f"expected by the pipeline{f': {self.detail}' if self.detail else ''}"
            case TimeSource.ASSUMED:
                return "assumed"
            case _:
                assert_never(self.source)


def best(found: Iterable[Estimate | None]) -> Estimate | None:
    """Return the estimate of the most preferred source, the first one of equals; None if there is none."""
    return min((each for each in found if each), key=lambda each: PREFERENCE.index(each.source), default=None)


def step_duration(steps: Sequence[StepSeen], stage: str) -> Estimate | None:
    """Return the seconds per step of a stage, or None if too few steps were seen.

    Each session contributes the mean of its intervals near the median, which leaves out intervals that contain a save.
    The result is the weighted mean over sessions, since each runs on a machine of its own, however long it ran:

        near(session) := its seconds per step within a factor OUTLIER_FACTOR of the median of all sessions
        usual         := sum(weight * mean(near)) / sum(weight), weight = min(intervals in near, INTERVALS_ENOUGH)
        margin        := see `_margin_s`; low = usual - margin, high = usual + margin
    """
    sessions = _seconds_per_step(steps, stage)
    every = [rate for session in sessions for rate in session]
    if len(every) < INTERVALS_MIN:
        return None
    middle = statistics.median(every)
    lowest, highest = middle / OUTLIER_FACTOR, middle * OUTLIER_FACTOR
    near = [[rate for rate in session if lowest <= rate <= highest] for session in sessions]
    near = [session for session in near if session]
    if not near:
        return Estimate.around(middle, EXPECTED_SHARE, TimeSource.THIS_RUN)
    weights = [min(len(session), INTERVALS_ENOUGH) for session in near]
    usual = statistics.fmean(map(statistics.fmean, near), weights)
    margin_s = _margin_s(near, weights, usual)
    return Estimate(usual, usual - margin_s, usual + margin_s, TimeSource.THIS_RUN)


def _seconds_per_step(steps: Sequence[StepSeen], stage: str) -> list[list[float]]:
    """Return each session's seconds per step, one value for each two steps of the stage that were seen in a row."""
    found: dict[tuple[int, int], list[float]] = {}
    for before, after in pairwise(step for step in steps if step.stage == stage):
        done = after.step - before.step
        if (before.session, before.attempt) == (after.session, after.attempt) and done > 0:
            found.setdefault((after.session, after.attempt), []).append((after.at_s - before.at_s) / done)
    return list(found.values())


def _margin_s(near: Sequence[Sequence[float]], weights: Sequence[int], usual: float) -> float:
    """Return the error of a mean step time in seconds, at most 90 % of it: the largest of

    * MEASURED_SHARE of it, twice that with a single session;
    * two standard errors: 2 * standard deviation / sqrt(number of intervals);
    * the largest deviation of a session's mean, among the sessions of the largest weight.
    """
    every = [rate for session in near for rate in session]
    share = MEASURED_SHARE if len(near) > 1 else 2 * MEASURED_SHARE
    error_s = 2 * statistics.stdev(every) / len(every) ** 0.5 if len(every) > 1 else usual
    heaviest = [session for session, weight in zip(near, weights, strict=True) if weight == max(weights)]
    spread_s = max(abs(statistics.fmean(session) - usual) for session in heaviest)
    return min(max(share * usual, error_s, spread_s), 0.9 * usual)
