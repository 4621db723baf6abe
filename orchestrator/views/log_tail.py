"""Log of a run's sessions in parts, read from a byte of the stored file on, for a page that follows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.base.terminal import escape_controls
from orchestrator.engine.home import HomeLayout
from orchestrator.views.logs import event_text, heading_text
from state.model.run_state import RunState, Session

PART_BYTES_MAX = 64 * 2**10
"""Maximum number of bytes of a log that are read at once."""
LINE_CHARACTERS_MAX = 2000
CUT = " … (cut)"


@dataclass(frozen=True)
class LogPart:
    """Some lines of one session's log, as people read them."""

    slug: str
    """The session's slug; empty if No session has a log yet.."""
    heading: str
    lines: tuple[str, ...]
    at: int
    """Byte of the file at which the next part begins."""
    earlier: bool
    """True if the file has lines before this part."""
    live: bool
    """True while the session may still log."""


NO_LOG = LogPart("", "No session has a log yet.", (), 0, earlier=False, live=True)


def log_part(home: HomeLayout, state: RunState, slug: str = "", at: int | None = None) -> LogPart:
    """Return the log of session `slug` (empty: the newest one) from byte `at` on (None: its end).

    After the last line of a session that is over follows the beginning of the next session's log.
    """
    logged = [session for session in state.sessions if home.log(session).exists()]
    if not logged:
        return NO_LOG
    place = next((n for n, session in enumerate(logged) if session.slug == slug), None)
    if place is None:
        return _read(home, logged[-1], None)
    part = _read(home, logged[place], at)
    if not part.lines and not part.live and place + 1 < len(logged):
        return _read(home, logged[place + 1], 0)
    return part


def _read(home: HomeLayout, session: Session, at: int | None) -> LogPart:
    path = home.log(session)
    size = path.stat().st_size
    whole_end = at is None or at > size  # a shorter file was written anew
    begin = max(0, size - PART_BYTES_MAX) if whole_end or at is None else at
    with path.open("rb") as file:
        file.seek(begin)
        block = file.read(PART_BYTES_MAX)
    if whole_end and begin > 0:
        skipped = block.find(b"\n") + 1
        begin, block = begin + skipped, block[skipped:]
    length = block.rfind(b"\n") + 1
    if length == 0 and len(block) == PART_BYTES_MAX:
        length = len(block)  # one line longer than a part
    lines = block[:length].decode("utf-8", "replace").split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    return LogPart(
        session.slug,
        heading_text(session),
        shown_lines(lines),
        begin + length,
        earlier=begin > 0,
        live=not session.phase.over,
    )


def shown_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return lines for people: progress events as sentences, no control characters, none too long."""
    return tuple(
        text if len(text) <= LINE_CHARACTERS_MAX else text[:LINE_CHARACTERS_MAX] + CUT
        for text in (escape_controls(event_text(line)) for line in lines)
    )
