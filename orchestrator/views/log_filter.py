"""Choice of a log's lines: by pattern, time and level, and without the events by which a session accounts for its time."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.base.errors import BadInput
from orchestrator.views.logs import Piece, SessionHeading, ShownLine, event_text
from orchestrator.views.run_choice import time_since
from stages.contract import PROGRESS_PREFIX, Progress
from state.model.run_state import Session

LEVELS = ("info", "warning", "error")
BOOKKEEPING = ("account",)
"""Progress events that only the orchestrator uses."""

_NAMED = re.compile(r"\b(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b")
_ABSL = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d")
_PYTHON_WARNING = re.compile(r"^\S*:\d+: \w*Warning: ")
_EXCEPTION = re.compile(r"^[\w.]*(Error|Exception|Interrupt)\b(: |$)")
_RANKS = {"DEBUG": 0, "INFO": 0, "I": 0, "WARN": 1, "WARNING": 1, "W": 1}
_NAME_WITHIN = 60
"""Number of characters at the beginning of a line among which a level's name is looked for."""


@dataclass(frozen=True)
class LogChoice:
    """The lines of logs that are shown."""

    pattern: re.Pattern[str] | None = None
    """Matches anywhere in the line, as the session wrote it or as it is shown."""
    since: datetime | None = None
    """Show only lines that were written at or after this time, as far as that is known."""
    level: str = "info"
    """Lowest level that is shown, one of LEVELS."""
    bookkeeping: bool = True
    """True if the events by which a session accounts for its time are shown too."""


def log_choice(
    grep: str | None, since: str | None, level: str | None, now: datetime, *, bookkeeping: bool
) -> LogChoice:
    """Parse the options of `relay logs`. Raises BadInput."""
    try:
        pattern = None if grep is None else re.compile(grep)
    except re.error as error:
        raise BadInput(
            f"--grep {grep!r} is no regular expression ({error}): write \\ before a sign that is meant literally"
        ) from error
    return LogChoice(pattern, time_since(since, now) if since else None, level or "info", bookkeeping)


def chosen(pieces: Iterable[Piece], choice: LogChoice) -> Iterator[Piece]:
    """Yield the chosen lines as they arrive, and all headings and notices."""
    reading = _Reading(choice)
    for piece in pieces:
        if not isinstance(piece, ShownLine) or reading.takes(piece):
            yield piece
        if isinstance(piece, SessionHeading):
            reading = _Reading(choice)


@dataclass
class _Reading:
    """State of reading one session's log: what its last lines say about the time and the level of the next one."""

    choice: LogChoice
    at_s: float = 0.0
    rank: int = 0
    traceback: bool = False

    def takes(self, line: ShownLine) -> bool:
        event = Progress.from_line(line.text)
        self.at_s = event.at_s if event else line.at_s if line.at_s is not None else self.at_s
        self.rank = self._rank(line.text, event)
        if not self.choice.bookkeeping and (
            line.text.startswith(PROGRESS_PREFIX) if event is None else _is_silent(event)
        ):
            return False
        if self.rank < LEVELS.index(self.choice.level) or not self._in_time(line.session):
            return False
        pattern = self.choice.pattern
        return pattern is None or bool(pattern.search(line.text) or (event and pattern.search(event_text(line.text))))

    def _in_time(self, session: Session) -> bool:
        """Return whether the line is new enough. Without a time of its own it has that of the last event before it."""
        began_at = session.running_at or session.pushed_at or session.planned_at
        return self.choice.since is None or began_at + timedelta(seconds=self.at_s) >= self.choice.since

    def _rank(self, text: str, event: Progress | None) -> int:
        """Return the index of the line's level in LEVELS. Lines below a traceback or a warning share its level."""
        if event is not None:
            self.traceback = False
            return 2 if event.event == "failed" else 0
        if text.startswith("Traceback (most recent call last)"):
            self.traceback = True
        elif text[:1].isspace() or not text:
            return self.rank
        elif self.traceback or _EXCEPTION.match(text):
            self.traceback = False
            return 2
        return 2 if self.traceback else _named_rank(text)


def _is_silent(event: Progress) -> bool:
    return event.event in BOOKKEEPING and not event.note


def _named_rank(text: str) -> int:
    """Return the level that a line names: as Python's logging, absl or the warnings module write it."""
    if _PYTHON_WARNING.match(text):
        return 1
    found = _ABSL.match(text) or _NAMED.search(text[:_NAME_WITHIN])
    return _RANKS.get(found[1], 2) if found else 0
