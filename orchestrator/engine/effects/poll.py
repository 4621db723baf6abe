"""Polls a session and reads its log."""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from orchestrator.base.errors import Refused, Transient, Vanished
from orchestrator.base.humanize import duration
from orchestrator.core import waits
from orchestrator.engine.effects.context import EffectContext, EffectResult, reset_failures
from orchestrator.kaggle.gateway import Gateway, LogLine, SessionSeen, Worker
from orchestrator.pipeline.model import Pipeline
from stages.contract import PROGRESS_PREFIX, Progress
from state.facts import (
    Fact,
    SeenEnded,
    SeenQueued,
    SeenRunning,
)
from state.model import Metric, Phase, PollState, Session, Snapshot

RECENT_LINES = 100
"""Number of the newest log lines that are kept: enough to measure the pace, few enough to poll cheaply."""

EVENT_CHARS_MAX = 200_000
"""Maximum characters of a progress event; a longer line is ordinary log text."""
METRICS_MAX = 250_000
"""Maximum number of metrics per poll: a session of ten thousand steps reports twenty values for each."""

WELL = PollState()
"""Poll state without failures."""


def poll(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Poll the session's status, and read the new part of its log."""
    version, seen = seen_of(session.slug, session.kernel_version, shell.gateway)
    session = replace(session, kernel_version=version)
    if seen.worker is Worker.NEW_SCRIPT:
        raise Vanished(f"Kaggle has {session.slug} and says that it never ran")
    if seen.worker is Worker.UNKNOWN:
        require(session, shell)
        raise Transient(f"Kaggle's answer about {session.slug} made no sense: {seen.message or seen.worker}")
    facts: list[Fact] = []
    if seen.worker is Worker.QUEUED and session.phase is Phase.PUSHED:
        facts.append(SeenQueued(number=session.number, attempt=session.attempt))
    if seen.worker is Worker.RUNNING and session.phase is not Phase.RUNNING:
        facts.append(SeenRunning(number=session.number, attempt=session.attempt))
    if seen.worker.terminal:
        ended = SeenEnded(
            number=session.number, attempt=session.attempt, worker=seen.worker.value, message=seen.message
        )
        return EffectResult((*facts, ended), replace(WELL, looked_at=shell.clock.now()))
    known = snapshot.watch.log_lines
    log = read_log(session, shell, known) if seen.worker is Worker.RUNNING else LogReader(session, known)
    if log.count <= known and not facts and (over := _ended_unseen(snapshot, session, seen.worker, shell)):
        return EffectResult((over,), replace(WELL, looked_at=shell.clock.now()))
    watch = replace(
        reset_failures(snapshot.watch),
        looked_at=shell.clock.now(),
        slot_since=None,
        slot_seen_at=None,
        log_lines=max(known, log.count),
        done_at=_done_at(session, log.recent, pipeline, shell.clock.now()) if log.count else snapshot.watch.done_at,
        seconds=log.seconds or snapshot.watch.seconds,
    )
    return EffectResult(tuple(facts), watch, tuple(log.metrics))


def _ended_unseen(snapshot: Snapshot, session: Session, worker: Worker, shell: EffectContext) -> SeenEnded | None:
    """Return the end of a session whose status has been the same for too long and whose log is silent; else None.

    Kaggle kills a session at its limit, so one that runs longer has ended. A queued one has ended if it left files.
    """
    watch = waits.with_poll_counted(snapshot.watch, waits.awaited_event(session), shell.limits, shell.clock.now())
    if not waits.waited_too_long(watch, session, shell.limits):
        return None
    if session.phase is not Phase.RUNNING and not _left_files(session, shell):
        return None
    message = f"Kaggle has said {worker.value} for {duration(watch.waited_s)}, and the session has ended"
    return SeenEnded(number=session.number, attempt=session.attempt, worker=worker.value, message=message)


def _left_files(session: Session, shell: EffectContext) -> bool:
    """Return True if Kaggle lists files that the session left; False if the listing fails."""
    try:
        return bool(shell.gateway.output(session.slug, session.kernel_version))
    except (Transient, Refused):
        return False


def seen_of(slug: str, version: int | None, gateway: Gateway) -> tuple[int | None, SessionSeen]:
    """Return a kernel session's status, and the version to poll.

    The newest version, or the one named in the push response, may not be the one that runs; then relay asks without a
    version.
    """
    seen = gateway.session(slug, version)
    if seen.worker is Worker.NEW_SCRIPT and version is not None:
        return None, gateway.session(slug, None)
    return version, seen


def require(session: Session, shell: EffectContext) -> None:
    """Raise Vanished if Kaggle has no kernel of the session's name."""
    if shell.gateway.find_kernel(session.slug) is None:
        raise Vanished(f"Kaggle has no kernel {session.slug} any more")


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


def _done_at(session: Session, recent: Sequence[Progress], pipeline: Pipeline, now: datetime) -> datetime | None:
    """Estimate when the pipeline's last step is done, at the recent pace; None while another stage runs."""
    last = pipeline.stages[-1]
    steps = [event for event in recent if event.stage == last.name]
    if len(steps) < 2 or steps[-1].step <= steps[0].step:
        return None
    pace_s = (steps[-1].at_s - steps[0].at_s) / (steps[-1].step - steps[0].step)
    begun_at = session.running_at or now
    at = min(now, begun_at + timedelta(seconds=steps[-1].at_s))
    return at + timedelta(seconds=min(session.limit_s, max(0.0, pace_s * (last.steps - steps[-1].step))))
