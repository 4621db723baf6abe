"""Session logs for people: the stored log of one session, or the live logs of a run's sessions in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.base.clock import Clock
from orchestrator.base.errors import BadInput, Transient
from orchestrator.base.humanize import duration
from orchestrator.engine.home import HomeLayout, log_lines
from orchestrator.platforms.port import Platform
from orchestrator.views.document import status_document
from orchestrator.views.format import metrics_text
from orchestrator.views.moment import moment_of
from orchestrator.views.next_action import action_line
from stages.contract import Progress
from state.model.run_state import RunState, Session
from state.model.statuses import RunStatus
from state.reader import Reader

EVERY_S = 2.0
"""Poll interval for the next session, in seconds."""

AGAIN_S = 30.0
"""Delay before Kaggle is asked again after the client has given up its own retries, in seconds."""

SETTLED = (RunStatus.FINISHED, RunStatus.CANCELLED, RunStatus.PARKED)


@dataclass(frozen=True)
class ShownLine:
    """Line of a session's log.

    `at_s`, the time since the session's start, and `stream` are known only for lines that come directly from Kaggle.
    """

    session: Session
    number: int
    text: str
    at_s: float | None = None
    stream: str | None = None


@dataclass(frozen=True)
class SessionHeading:
    """Marks the beginning of a session's lines."""

    session: Session


@dataclass(frozen=True)
class Notice:
    """A sentence for the user that is not part of any log."""

    sentence: str


Piece = ShownLine | SessionHeading | Notice


def stored_log(home: HomeLayout, session: Session, skip: int = 0) -> Iterator[ShownLine]:
    """Yield the lines that the daemon has stored so far, from line number `seen` on."""
    for number, text in enumerate(log_lines(home.log(session))):
        if number >= skip:
            yield ShownLine(session, number, text)


@dataclass(frozen=True)
class LogFollower:
    """Follows the sessions of one run. It only reads the database, and fetches live logs from Kaggle."""

    store: Reader
    gateway: Callable[[], Platform]
    """Raises BadInput without credentials; the log that the daemon stores is then shown instead."""
    home: HomeLayout
    clock: Clock

    def run(self, run: str, since: tuple[int, int]) -> Iterator[Piece]:
        """Yield the logs of sessions from (number, attempt) `since` on until the run is over or parked."""
        done: tuple[int, int] | None = None
        last_reason: tuple[str | None, ...] = ()
        while True:
            state = self.store.load(run)
            later = [s for s in state.sessions if s.key >= since and (done is None or s.key > done)]
            session = next((s for s in later if self._has_log(s)), None)
            if session is not None:
                yield SessionHeading(session)
                yield from self.session(session)
                done = session.key
                continue
            reason_key, sentence = self._idle_reason(state)
            if sentence and reason_key != last_reason:
                yield Notice(sentence)
            last_reason = reason_key
            if state.run.status in SETTLED:
                return
            self.clock.sleep(EVERY_S)

    def session(self, session: Session) -> Iterator[Piece]:
        """Yield the log of one session from its first line to its end."""
        seen, session = 0, self._now(session)
        while not session.phase.over:
            if session.phase.awaited:
                for piece in self._live(session, seen):
                    yield piece
                    seen = piece.number + 1 if isinstance(piece, ShownLine) else seen
                break
            if session.phase.under_way or session.phase.value == "planned":
                self.clock.sleep(EVERY_S)
                session = self._now(session)
            else:
                break
        yield from stored_log(self.home, session, seen)

    def _live(self, session: Session, seen: int) -> Iterator[ShownLine | Notice]:
        """Yield each line once, directly from Kaggle. Transient failures are retried without limit."""
        trouble = ""
        try:
            gateway = self.gateway()
        except BadInput as error:
            yield Notice(f"{error}; until then the lines that the daemon has fetched are shown")
            yield from self._stored_lines(session)
            return
        while session.phase.awaited:
            try:
                for line in gateway.follow_log(session.slug, session.kernel_version, seen):
                    if trouble:
                        trouble = ""
                        yield Notice(f"{gateway.label} answers again")
                    seen = line.number + 1
                    yield ShownLine(session, line.number, line.text, line.at_s, line.stream)
                return
            except Transient as error:
                if not trouble:
                    trouble = str(error)
                    yield Notice(f"{error}: asking again every {duration(AGAIN_S)}")
                self.clock.sleep(AGAIN_S)
                session = self._now(session)

    def _stored_lines(self, session: Session) -> Iterator[ShownLine]:
        """Yield the stored log as it grows, until the session is over."""
        seen = 0
        while True:
            session = self._now(session)
            for line in stored_log(self.home, session, seen):
                yield line
                seen = line.number + 1
            if not session.phase.awaited:
                return
            self.clock.sleep(EVERY_S)

    def _now(self, session: Session) -> Session:
        return self.store.load(session.run).session(*session.key)

    def _has_log(self, session: Session) -> bool:
        """Return whether there is, or may soon be, a log to show."""
        return session.phase.awaited or self.home.log(session).exists()

    def _idle_reason(self, state: RunState) -> tuple[tuple[str | None, ...], str]:
        """Return why no session begins: a key that identifies the reason, and a sentence, empty for short waits."""
        run = state.run
        if run.status is RunStatus.FINISHED:
            return (run.status,), f"{run.id} is finished"
        with moment_of(self.store, self.clock.now) as (reader, now):
            document = status_document(reader, self.home.path, now, run.id)
        to_do = document["runs"][0]["to_do"]
        reason_key = (run.status, run.reason, to_do["command"])
        if to_do["command"] is None and run.status is RunStatus.ACTIVE:
            return reason_key, ""
        return reason_key, f"{run.id} is {run.status}: {action_line(to_do)}"


def heading_text(session: Session) -> str:
    """Return the separator line before a session's log."""
    attempt = "" if session.attempt == 1 else f", attempt {session.attempt}"
    start = f"{session.start.stage} step {session.start.step}"
    return f"--- session {session.number}{attempt} ({session.slug}), from {start} ---"


def event_text(line: str) -> str:
    """Return a progress event as a sentence, and any other line unchanged."""
    event = Progress.from_line(line)
    if event is None:
        return line
    words = {
        "step": f"{event.stage} step {event.step}/{event.target}  {metrics_text(event.metrics)}",
        "saved": f"saved {event.stage} step {event.step}",
        "stage": f"{event.stage} is done",
    }
    text = words.get(event.event, event.event)
    return f"[{event.at_s:8.1f} s] {text}{'  ' + event.note if event.note else ''}"


def line_document(line: ShownLine) -> dict[str, Any]:
    """Describe a line as JSON (see docs/json.md). `event` holds the progress event, if the line is one."""
    event = Progress.from_line(line.text)
    return {
        "run": line.session.run,
        "session": line.session.number,
        "attempt": line.session.attempt,
        "line": line.number,
        "at_s": line.at_s if event is None else event.at_s,
        "stream": line.stream,
        "text": line.text,
        "event": None if event is None else event.to_dict(),
    }
