"""A kernel's live log over HTTP: the log so far, or every line as it appears, each once even if the stream is cut."""

import codecs
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import requests

from orchestrator.base.clock import monotonic_s
from orchestrator.kaggle.logs import END_OF_LOG, LineAssembler, chunk_of_event, lines_of_log
from orchestrator.kaggle.retry import RetryPolicy
from orchestrator.kaggle.transport import (
    BoundedSession,
    CallFailed,
    ConnectionLost,
    InvalidResponse,
    NotFound,
    Redact,
    TransportLimits,
    as_read,
    blocks_of,
    check_status,
    transport_errors,
)
from orchestrator.platforms.port import LogLine, Worker

RECONNECT_S_MAX = 15.0

PAYLOAD_BYTES_MAX = 8 * 2**20
"""Size limit of one live-log entry, in bytes; a longer entry is truncated."""

OpenLog = Callable[[float], AbstractContextManager[tuple[BoundedSession, requests.Response]]]
"""Connects to the log stream; the argument is the read timeout in seconds."""


class Connection:
    """Connection to the log stream; the stream always begins with the log's first line."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self.ended = False
        """True once the end of the log was received, so that no further line can follow."""
        self.stored = False
        """True if the response is the stored log of an ended session rather than a live stream."""

    def lines(self, session: BoundedSession, response: requests.Response) -> Iterator[LogLine]:
        """Yield lines until the log or the connection ends. An unfinished line is withheld."""
        with transport_errors(self._redact):
            if response.status_code >= 400:
                check_status(response, session.read_whole(response), self._redact)
            if not response.headers.get("Content-Type", "").lower().startswith("text/event-stream"):
                self.stored = True
                texts = codecs.iterdecode(session.blocks(response), "utf-8", errors="replace")
                yield from lines_of_log(texts, self._redact)
                self.ended = True
                return
            yield from self._live(response)

    def _live(self, response: requests.Response) -> Iterator[LogLine]:
        lines = LineAssembler(self._redact)
        for payload in _payloads(response):
            if payload == END_OF_LOG:
                self.ended = True
                yield from lines.end()
                return
            if (chunk := chunk_of_event(payload)) is not None:
                yield from lines.add(chunk)


def read_now(open_: OpenLog, limits: TransportLimits, redact: Redact) -> Generator[LogLine, None, bool]:
    """Yield the log as the stream has it now; return False if the stream failed and the stored log should be tried."""
    seen = False
    until_s = monotonic_s() + limits.live_s
    connection = Connection(redact)
    try:
        with open_(limits.quiet_s) as (session, response):
            for line in connection.lines(session, response):
                seen = True
                yield line
                if monotonic_s() > until_s and not connection.stored:
                    break
    except CallFailed:
        pass  # the lines before the failure were already yielded
    return seen or connection.ended


@dataclass(frozen=True)
class Follower:
    """Follows one session's log."""

    open_: OpenLog
    limits: TransportLimits
    redact: Redact
    retries: RetryPolicy
    session: Callable[[], Worker]
    """Fetches the session's state: once the session has ended, a silent stream will never send its end marker."""
    whole: Callable[[], Iterator[LogLine]]
    """Fetches the stored log of a session that has ended."""

    def lines(self, seen: int) -> Iterator[LogLine]:
        """Yield lines from number `seen` on; raises Transient if Kaggle stays unreachable beyond the retry policy."""
        number, waited_s, failures = seen, 1.0, 0
        while True:
            connection, before, trouble = Connection(self.redact), number, None
            try:
                for line in self._connected(connection):
                    if line.number >= number:
                        number = line.number + 1
                        yield line
            except CallFailed as error:
                trouble = error
            if connection.ended:
                return
            if number > before:
                waited_s, failures = 1.0, 0
            else:
                if (worker := self.session()).terminal:
                    yield from (line for line in self.whole() if line.number >= number)
                    return
                waited_s, failures = min(2 * waited_s, RECONNECT_S_MAX), self._failures(failures, worker, trouble)
            self.retries.sleep(waited_s)

    def _connected(self, connection: Connection) -> Iterator[LogLine]:
        with self.open_(self.limits.follow_s) as (session, response):
            yield from connection.lines(session, response)

    def _failures(self, before: int, worker: Worker, trouble: CallFailed | None) -> int:
        """Count consecutive failures that silence or queueing does not explain; raises once retries are exhausted."""
        # Not failures: a load balancer cuts a silent stream, and training may be silent for an hour; a queued
        # session has no log, so Kaggle returns 403 or 404.
        healthy = worker is not Worker.UNKNOWN and (
            trouble is None or isinstance(trouble, ConnectionLost) or _is_absent(trouble)
        )
        if not healthy and before + 1 >= self.retries.attempts_max:
            reason = trouble or InvalidResponse("the session is not known")
            raise as_read(reason, "the live log") from trouble
        return 0 if healthy else before + 1


def _is_absent(trouble: CallFailed) -> bool:
    return isinstance(as_read(trouble, ""), NotFound)


def _payloads(response: requests.Response) -> Iterator[str]:
    """Yield the text of each `data:` line as soon as it arrives; truncates one that is too long."""
    for line in _truncated_lines(blocks_of(response, 2**16)):
        if line.startswith(b"data:"):
            yield line[5:].strip().decode(errors="replace")


def _truncated_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the complete lines of a body, each truncated to `PAYLOAD_BYTES_MAX`."""
    rest, skips = bytearray(), False
    for block in blocks:
        *ends, begins = block.split(b"\n")
        for end in ends:
            if not skips:
                yield bytes(rest) + end
            rest.clear()
            skips = False
        if not skips:
            rest += begins
        if len(rest) > PAYLOAD_BYTES_MAX:
            yield bytes(rest)
            rest.clear()
            skips = True
