"""Reads a session's log: keeps it on this disk, and collects the metrics in it."""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.base.errors import Refused, Transient
from orchestrator.engine.effects.context import EffectContext
from orchestrator.platforms.port import LogLine
from stages.contract import PROGRESS_PREFIX, Progress
from state.model.metrics import Metric
from state.model.run_state import Session

RECENT_LINES = 100
"""Number of the newest log lines that are kept: enough to measure the pace, few enough to poll cheaply."""

EVENT_CHARS_MAX = 200_000
"""Maximum characters of a progress event; a longer line is ordinary log text."""
METRICS_MAX = 250_000
"""Maximum number of metrics per poll: a session of ten thousand steps reports twenty values for each."""


@dataclass
class LogReader:
    """Reads a session's log beyond its first `known` lines, line by line: a log may exceed memory."""

    session: Session
    known: int = 0
    count: int = 0
    """Number of lines that were read, including the known ones."""
    metrics: list[Metric] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Time accounting of the session: seconds by class, from the newest line that has it.

    A `saved` event has the accounting of the moment at which its state was taken, so an earlier line may be newer.
    """
    _recent: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT_LINES))

    def through(self, lines: Iterable[LogLine]) -> Iterator[LogLine]:
        """Yield the same lines, and read each on the way."""
        for line in lines:
            self.count = max(self.count, line.number + 1)
            tells = line.text.startswith(PROGRESS_PREFIX) and len(line.text) <= EVENT_CHARS_MAX
            self._recent.append(line.text if tells else "")
            if line.number >= self.known and tells:
                self._hear(Progress.from_line(line.text))
            yield line

    def _hear(self, event: Progress | None) -> None:
        if event is None:
            return
        if sum(event.seconds.values()) > sum(self.seconds.values()):
            self.seconds = event.seconds
        if event.event == "step" and len(self.metrics) < METRICS_MAX:
            self.metrics += metrics_of(self.session, event)

    @property
    def recent(self) -> list[Progress]:
        """Step events in the newest lines."""
        events = map(Progress.from_line, self._recent)
        return [event for event in events if event is not None and event.event == "step"]


def read_log(session: Session, shell: EffectContext, known: int = 0, *, needed: bool = False) -> LogReader:
    """Read the log from Kaggle and append it to the file on this disk; a log that cannot be fetched is skipped.

    A file that this disk cannot read is skipped too, unless it is `needed`: then OSError is raised.
    """
    taken = LogReader(session, known)
    with contextlib.suppress(Transient, Refused):
        lines = taken.through(shell.gateway.log(session.slug, session.kernel_version))
        shell.home.append_log(session, lines, needed=needed)
    return taken


def metrics_of(session: Session, event: Progress) -> list[Metric]:
    """Return the metrics of one step."""
    return [
        Metric(
            run=session.run,
            session=session.number,
            attempt=session.attempt,
            number=event.number,
            stage=event.stage,
            step=event.step,
            name=name,
            value=value,
            at_s=event.at_s,
        )
        for name, value in sorted((event.metrics or {"done": float(event.step)}).items())
    ]
