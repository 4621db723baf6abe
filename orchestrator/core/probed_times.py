"""Durations that evidence measured on the user's account, for forecasts of runs that have measured none. Pure."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.core.assumptions import Evidence, Verdict, measured
from orchestrator.core.estimates import MEASURED_SHARE, Estimate, TimeSource

PROCESSING_S = Estimate(120, 30, 900)
"""Part of the time between two sessions in which Kaggle processes a gigabyte, as assumed without evidence."""
NEWEST = 5
"""Number of the newest measurements that are used, since conditions on Kaggle change over time."""

PROBED_S_MAX = 24 * 3600.0
"""Longest plausible duration in evidence, in seconds: a longer one is ignored, as of another run's times."""


@dataclass(frozen=True)
class ProbedTimes:
    """Durations from evidence; None where there is none."""

    queue_s: Estimate | None = None
    startup_s: Estimate | None = None
    """Start-up of a session that installs packages."""
    processing_s: Estimate | None = None

    def between(self, handover_s: Estimate) -> Estimate:
        """Return the assumed time between two sessions, longer by what processing took longer than assumed.

        A probe's dataset is smaller than a checkpoint, so its processing is a lower bound of a checkpoint's.
        """
        if self.processing_s is None:
            return handover_s
        more = (
            max(0.0, self.processing_s.usual_s - PROCESSING_S.usual_s),
            max(0.0, self.processing_s.low_s - PROCESSING_S.low_s),
            max(0.0, self.processing_s.high_s - PROCESSING_S.high_s),
        )
        usual_s, low_s, high_s = handover_s.usual_s + more[0], handover_s.low_s + more[1], handover_s.high_s + more[2]
        return Estimate(usual_s, min(low_s, usual_s), max(high_s, usual_s), handover_s.source)


NOT_PROBED = ProbedTimes()


def probed_times(evidence: Iterable[Evidence], accelerator: str) -> ProbedTimes:
    """Return what evidence measured; `accelerator` is `tpu`, `gpu` or `cpu`, whose queue and start-up are meant."""
    seen = [each for each in evidence if each.verdict is not Verdict.UNKNOWN]
    return ProbedTimes(
        queue_s=_span(measured(seen, "queue-time", f"{accelerator}_s")),
        startup_s=_span(measured(seen, "start-up-time", f"{accelerator}_s")),
        processing_s=_span(measured(seen, "processing-time", "processing_s")),
    )


def _span(values: Sequence[float]) -> Estimate | None:
    """Return the median, minimum and maximum of the newest plausible values, at least MEASURED_SHARE apart."""
    newest = [seconds for seconds in values if seconds <= PROBED_S_MAX][-NEWEST:]
    if not newest:
        return None
    usual_s = statistics.median(newest)
    margin_s = MEASURED_SHARE * usual_s
    return Estimate(usual_s, min(*newest, usual_s - margin_s), max(*newest, usual_s + margin_s), TimeSource.PROBE)
