"""A kernel's live log over HTTP: what there is now, or every line as it appears, each once however often it is cut."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import requests

from orchestrator.clock import monotonic_s
from orchestrator.kaggle.gateway import LogLine
from orchestrator.kaggle.logs import END_OF_LOG, Lines, chunk_of_event, lines_of_log
from orchestrator.kaggle.retry import Patience
from orchestrator.kaggle.transport import (
    Absent,
    BoundedSession,
    CallFailed,
    Cut,
    Limits,
    Redact,
    as_read,
    blocks_of,
    check_status,
    honest_errors,
)

RECONNECT_S_MAX = 15.0

OpenLog = Callable[[float], AbstractContextManager[tuple[BoundedSession, requests.Response]]]
"""Connects to the log stream; the argument is the silence in seconds after which the connection counts as cut."""


class Connection:
    """One reading of the stream, which always begins with the log's first line."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self.ended = False
        """Whether the log's end was seen: there will never be another line."""

    def lines(self, session: BoundedSession, response: requests.Response) -> Iterator[LogLine]:
        """The lines until the log ends or the connection does. A line that is still being written is held back."""
        with honest_errors(self._redact):
            if response.status_code >= 400:
                check_status(response, session.read_whole(response), self._redact)
            if not response.headers.get("Content-Type", "").lower().startswith("text/event-stream"):
                finished = lines_of_log(self._redact(session.read_whole(response).decode(errors="replace")))
                self.ended = True
                yield from finished
                return
            yield from self._live(response)

    def _live(self, response: requests.Response) -> Iterator[LogLine]:
        lines = Lines()
        for payload in _payloads(response):
            if payload == END_OF_LOG:
                self.ended = True
                yield from lines.end()
                return
            if (chunk := chunk_of_event(self._redact(payload))) is not None:
                yield from lines.add(chunk)


def read_now(open_: OpenLog, limits: Limits, redact: Redact) -> tuple[LogLine, ...] | None:
    """The log as the stream shows it now, or None where the stream did not work and another way should be tried."""
    seen: list[LogLine] = []
    until_s = monotonic_s() + limits.live_s
    connection = Connection(redact)
    try:
        with open_(limits.quiet_s) as (session, response):
            for line in connection.lines(session, response):
                seen.append(line)
                if monotonic_s() > until_s and not connection.ended:
                    break
    except CallFailed as error:
        if not isinstance(error, Cut):
            return None
    return tuple(seen) if seen or connection.ended else None


@dataclass(frozen=True)
class Follower:
    """Follows one session's log."""

    open_: OpenLog
    limits: Limits
    redact: Redact
    patience: Patience
    is_over: Callable[[], bool]
    """Whether the session has ended: then a stream that says nothing more will never say its end either."""
    whole: Callable[[], tuple[LogLine, ...]]
    """The stored log of a session that has ended."""

    def lines(self, seen: int) -> Iterator[LogLine]:
        """Lines from number `seen` on; raises Transient where Kaggle cannot be reached for longer than patience lasts."""
        number, waited_s, failures = seen, 1.0, 0
        while True:
            connection, before = Connection(self.redact), number
            try:
                for line in self._connected(connection):
                    if line.number >= number:
                        number = line.number + 1
                        yield line
                failures = 0
            except CallFailed as error:
                failures = 0 if isinstance(error, Cut) and number > before else failures + 1
                self._give_up_after(failures, error)
            if connection.ended:
                return
            if number == before and self.is_over():
                yield from (line for line in self.whole() if line.number >= number)
                return
            waited_s = 1.0 if number > before else min(2 * waited_s, RECONNECT_S_MAX)
            self.patience.sleep(waited_s)

    def _connected(self, connection: Connection) -> Iterator[LogLine]:
        with self.open_(self.limits.follow_s) as (session, response):
            yield from connection.lines(session, response)

    def _give_up_after(self, failures: int, error: CallFailed) -> None:
        # A load balancer cuts a stream that is silent, and training may well be silent for an hour. 403 and 404 say that
        # the session is still queued and has no log.
        meaning = as_read(error, "the live log")
        patient = isinstance(error, Cut) or isinstance(meaning, Absent)
        if not patient and failures >= self.patience.attempts_max:
            raise meaning from error


def _payloads(response: requests.Response) -> Iterator[str]:
    """The text of each `data:` line, as soon as it has arrived."""
    rest = b""
    for block in blocks_of(response, 2**16):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode(errors="replace")
