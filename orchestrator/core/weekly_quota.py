"""The weekly quota that is left, at any later time. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.core.plan import WEEK, week_of
from orchestrator.pipeline.model import Pipeline
from state.model.snapshot import QuotaRow


@dataclass(frozen=True, kw_only=True)
class Hours:
    """The weekly quota that is left at the walk's current time."""

    left_s: float
    total_s: float
    refreshes_at: datetime

    def at(self, now: datetime) -> "Hours":
        """Return the quota at a later time: every refresh in between restores the full week."""
        if now < self.refreshes_at:
            return self
        return Hours(left_s=self.total_s, total_s=self.total_s, refreshes_at=week_of(self.refreshes_at, now)[1])

    def spent(self, begin: datetime, end: datetime) -> "Hours":
        """Return the quota after a session.

        If the session runs past the refresh, only the part after it counts in the new week.
        """
        after = self.at(end)
        used_s = (end - max(begin, after.refreshes_at - WEEK)).total_seconds()
        return replace(after, left_s=max(0.0, after.left_s - max(0.0, used_s)))


def hours_of(pipeline: Pipeline, quota: QuotaRow | None, now: datetime) -> Hours | None:
    """Return the quota as last read, brought to `now`, or the pipeline's own number if it was never read.

    Returns None if the pipeline uses no quota.
    """
    if not pipeline.hardware.quota:
        return None
    end = week_of(quota.refreshes_at if quota else None, now)[1]
    if quota is None or quota.total_s is None or quota.left_s is None:
        total_s = pipeline.hours_per_week * 3600
        return Hours(left_s=total_s, total_s=total_s, refreshes_at=end)
    left_s = quota.left_s if quota.read_at >= end - WEEK else quota.total_s
    return Hours(left_s=left_s, total_s=quota.total_s, refreshes_at=end)
