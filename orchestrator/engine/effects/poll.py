"""See how a session is, and take in what it says."""

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
"""Of a log: enough to tell its pace, and few enough that a look does not read again what was read before."""

EVENT_CHARS_MAX = 200_000
"""Of a line that tells of a step; a longer one is for people."""
METRICS_MAX = 250_000
"""Of one look: a session of ten thousand steps tells twenty values of each."""

WELL = PollState()
"""Nothing fails."""


def poll(snapshot: Snapshot, session: Session, pipeline: Pipeline, shell: EffectContext) -> EffectResult:
    """Ask how the session is; take in the part of its log that is new."""
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
    """The end of a session of which Kaggle says the same for too long, and whose log tells nothing new; None as long as it may go on.

    Kaggle kills whatever runs at its limit, so one that runs for longer has ended. One that waits has ended where it left files.
    """
    watch = waits.counted(snapshot.watch, waits.of_session(session), shell.limits, shell.clock.now())
    if not waits.too_long(watch, session, shell.limits):
        return None
    if session.phase is not Phase.RUNNING and not _left_files(session, shell):
        return None
    message = f"Kaggle has said {worker.value} for {duration(watch.waited_s)}, and the session has ended"
    return SeenEnded(number=session.number, attempt=session.attempt, worker=worker.value, message=message)


def _left_files(session: Session, shell: EffectContext) -> bool:
    """Whether Kaggle lists files that the session left; a listing that cannot be had holds nothing up."""
    try:
        return bool(shell.gateway.output(session.slug, session.kernel_version))
    except (Transient, Refused):
        return False


def seen_of(slug: str, version: int | None, gateway: Gateway) -> tuple[int | None, SessionSeen]:
    """How a kernel's session is, and the version to ask about.

    The newest version, or the one that the answer to a push named, need not be the one that runs; then we ask without one.
    """
    seen = gateway.session(slug, version)
    if seen.worker is Worker.NEW_SCRIPT and version is not None:
        return None, gateway.session(slug, None)
    return version, seen


def require(session: Session, shell: EffectContext) -> None:
    """Raise Vanished where Kaggle has no kernel of the session's name."""
    if shell.gateway.find_kernel(session.slug) is None:
        raise Vanished(f"Kaggle has no kernel {session.slug} any more")


@dataclass
class LogReader:
    """What a session's log tells beyond its first `known` lines, read line by line: a log may be larger than the memory."""

    session: Session
    known: int = 0
    count: int = 0
    """Lines that were seen, the known ones among them."""
    metrics: list[Metric] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """What the session's seconds went to, as the newest line that tells it says.

    A `saved` tells of the moment at which its state was taken, so what was told before it may be newer.
    """
    _recent: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT_LINES))

    def through(self, lines: Iterable[LogLine]) -> Iterator[LogLine]:
        """The same lines, looked at on their way."""
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
        """The steps that the newest lines tell of."""
        events = map(Progress.from_line, self._recent)
        return [event for event in events if event is not None and event.event == "step"]


def read_log(session: Session, shell: EffectContext, known: int = 0, *, needed: bool = False) -> LogReader:
    """The log as Kaggle shows it now, added to the file on this disk; a log that cannot be had holds nothing up.

    Nor does a file that this disk does not give back, unless it is `needed`: then OSError is raised.
    """
    taken = LogReader(session, known)
    with contextlib.suppress(Transient, Refused):
        lines = taken.through(shell.gateway.log(session.slug, session.kernel_version))
        shell.home.append_log(session, lines, needed=needed)
    return taken


def metrics_of(session: Session, event: Progress) -> list[Metric]:
    """The values of one step."""
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
    """When the pipeline's last step is done at the pace of those before it; None as long as another stage is at work."""
    last = pipeline.stages[-1]
    told = [event for event in recent if event.stage == last.name]
    if len(told) < 2 or told[-1].step <= told[0].step:
        return None
    pace_s = (told[-1].at_s - told[0].at_s) / (told[-1].step - told[0].step)
    begun_at = session.running_at or now
    at = min(now, begun_at + timedelta(seconds=told[-1].at_s))
    return at + timedelta(seconds=min(session.limit_s, max(0.0, pace_s * (last.steps - told[-1].step))))
