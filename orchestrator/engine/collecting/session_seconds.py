"""Time accounting of an ended session: from its report, or else from its log, which has it about once a minute."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from stages.contract import PROGRESS_PREFIX, Manifest, Progress, Report
from stages.session.time_accounting import SESSION_CLASSES, productive_s

SESSION_S_MAX = 12 * 3600.0
"""Longest session, in seconds; larger values are ignored."""


@dataclass(frozen=True)
class TimeBreakdown:
    """Seconds by class up to the session's last report, and `saved_s`: step seconds up to the checkpoint's state."""

    by_class: dict[str, float]
    saved_s: float | None

    def kept_s(self, share: float) -> float:
        """Return the seconds of the steps that the checkpoint holds: all if it holds every step, else from the log.

        `share` is the share of the session's steps that the checkpoint holds.
        """
        steps_s = productive_s(self.by_class)
        return min(steps_s, steps_s * share if self.saved_s is None or share == 1.0 else self.saved_s)


def seconds_of(report: Report | None, told: Iterator[Progress], taken: Manifest | None) -> TimeBreakdown:
    """Combine a report and the time events of a log; `taken` is the checkpoint that was taken from the session."""
    newest: dict[str, float] = {}
    saved_s = 0.0 if taken is None else None
    for event in told:
        seconds = plausible(event.seconds)
        if sum(seconds.values()) > sum(newest.values()):
            newest = seconds
        if taken is not None and event.event == "saved" and event.note == taken.digest:
            saved_s = productive_s(seconds)
    reported = plausible(report.seconds) if report else {}
    return TimeBreakdown(reported or newest, saved_s)


def told_seconds(lines: Iterable[str]) -> Iterator[Progress]:
    """Yield the events of a session's log that contain time accounting."""
    for line in lines:
        if line.startswith(PROGRESS_PREFIX) and '"seconds":{"' in line:
            event = Progress.from_line(line)
            if event is not None and event.seconds:
                yield event


def sensible_times(timings: Mapping[str, float]) -> dict[str, float]:
    """Return the plausible timings of a report."""
    return {name: value for name, value in timings.items() if 0.0 <= value <= SESSION_S_MAX}


def plausible(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the plausible seconds: of known classes, and no longer than a session."""
    return {name: value for name, value in seconds.items() if name in SESSION_CLASSES and 0.0 <= value <= SESSION_S_MAX}
