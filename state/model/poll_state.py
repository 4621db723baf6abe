"""State of polling Kaggle for one run."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class PollState:
    """State of polling Kaggle for one run. It is a cache: losing it costs one extra poll, nothing else."""

    polled_at: datetime | None = None
    """When the session was last polled."""
    dataset_polled_at: datetime | None = None
    """When the dataset that Kaggle is processing was last polled."""
    failures: int = 0
    """Number of consecutive failed calls."""
    failing_since: datetime | None = None
    failed_at: datetime | None = None
    """When the last of these calls failed."""
    failing_s: float = 0.0
    """Duration of the failures in seconds, counted only while the daemon was running: laptop sleep does not count."""
    failure: str = ""
    absences: int = 0
    """Number of these failures that were a clear 404 for the kernel."""
    not_before: datetime | None = None
    log_lines: int = 0
    """Number of lines of the live session's log that have been read."""
    slot_since: datetime | None = None
    """Since when the run has been waiting for a slot of its account; runs are served in this order."""
    slot_seen_at: datetime | None = None
    """When the run last confirmed that it waits: a run without a daemon must not hold up the others."""
    done_at: datetime | None = None
    """Forecast, from the pace of its steps, of when the live session would complete the pipeline's last step."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of the live session by class, as far as its log has reported them."""
    sent_s: float = 0.0
    """Upload time in seconds of the dataset that Kaggle is processing."""
    search_s: dict[str, float] = field(default_factory=dict)
    """Seconds spent polling for each unconfirmed or unfinished kernel or dataset, by its name on Kaggle.

    See `orchestrator.core.search_time`.
    """
    awaiting: str = ""
    """Event on Kaggle that relay waits for, and the session concerned (`orchestrator.core.waits`); empty for none."""
    waited_s: float = 0.0
    """Seconds of that wait while relay was running: a clock change adds or removes at most one poll interval."""
    waited_at: datetime | None = None
    """Time up to which `waited_s` is counted."""
    recent_commands: str = ""
    """Digests of the commands performed at or shortly after `recent_commands_at`; none is repeated before time has passed."""
    recent_commands_at: datetime | None = None
    calls: int = 0
    """Number of calls to Kaggle within one minute from `calls_since`."""
    calls_since: datetime | None = None


POLL_TIMES = (
    "polled_at",
    "dataset_polled_at",
    "failing_since",
    "failed_at",
    "not_before",
    "slot_since",
    "slot_seen_at",
    "done_at",
    "waited_at",
    "recent_commands_at",
    "calls_since",
)
"""Names of the times in `PollState`: they are meaningless once the clock has been changed."""
