"""What a session that is over says its seconds went to: its report, or else its log, which tells it about once a minute."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from stages.contract import PROGRESS_PREFIX, Manifest, Progress, Report
from stages.session.time_accounting import TimeClass, productive_s

SESSION_S_MAX = 12 * 3600.0
"""No session is longer: seconds that say so make no sense."""
KNOWN = frozenset(what.value for what in TimeClass)


@dataclass(frozen=True)
class TimeBreakdown:
    """`by_class` until the session's last word; `saved_s` are those of its steps when the state of the checkpoint was taken."""

    by_class: dict[str, float]
    saved_s: float | None

    def kept_s(self, share: float) -> float:
        """Seconds of the steps that the checkpoint holds: all of them where it holds every step, else what the log tells.

        `share` is that of the session's steps that it holds.
        """
        steps_s = productive_s(self.by_class)
        return min(steps_s, steps_s * share if self.saved_s is None or share == 1.0 else self.saved_s)


def seconds_of(report: Report | None, told: Iterator[Progress], taken: Manifest | None) -> TimeBreakdown:
    """From a report and the events of a log that tell seconds; `taken` is the checkpoint that was taken from the session."""
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
    """The events of a session's log that tell seconds."""
    for line in lines:
        if line.startswith(PROGRESS_PREFIX) and '"seconds":{"' in line:
            event = Progress.from_line(line)
            if event is not None and event.seconds:
                yield event


def sensible_times(timings: Mapping[str, float]) -> dict[str, float]:
    """Of a report's timings those that a session can have."""
    return {name: value for name, value in timings.items() if 0.0 <= value <= SESSION_S_MAX}


def plausible(seconds: Mapping[str, float]) -> dict[str, float]:
    """What can be: known classes, and no more seconds than a session has."""
    return {name: value for name, value in seconds.items() if name in KNOWN and 0.0 <= value <= SESSION_S_MAX}
