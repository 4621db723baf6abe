"""Converts Kaggle's log entries to numbered lines. Pure, so that odd logs can be tested without a server.

Kaggle sends chunks `{stream_name, time, data}`, as an event stream while a session runs and as one JSON array
afterwards. A chunk holds the bytes of one write: part of a line, or several lines. Lines are numbered in the order in
which they end, so the same chunks always give the same numbers, however often a stream is replayed from its start.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.platforms.port import LogLine
from stages.contract import PROGRESS_PREFIX, SECONDS_MAX
from stages.safe_text import whole_text

END_OF_LOG = "END_OF_LOG"

LINE_CHARACTERS_MAX = 1_000_000
"""Maximum length of a line; a longer one is split, so that a process that never ends a line cannot fill the memory."""

STREAMS_MAX = 16
"""Maximum number of streams with an open line; beyond it the oldest open line is ended. Kaggle has two streams."""
STREAM_CHARACTERS_MAX = 32

UNREADABLE_CHARACTERS_MAX = 8_000_000
"""Characters of invalid JSON that are buffered before the text is shown as it is."""

WITHOUT_NEWLINE_CHARACTERS_MAX = 2_000_000
"""Characters searched for a newline before the log counts as one whose entries have none."""

DECODER = json.JSONDecoder()
BETWEEN_ENTRIES = re.compile(r"[\s,\[\]]*")


@dataclass(frozen=True)
class Chunk:
    """Text of one write to one stream of the process; `at_s` is session time in seconds."""

    stream: str
    at_s: float
    data: str


class LineAssembler:
    """Assembles the lines of all streams; `end` returns lines that no newline ended."""

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        self._redact = redact
        self._open: dict[str, Chunk] = {}
        self._count = 0

    def add(self, chunk: Chunk) -> list[LogLine]:
        """Return the lines that this chunk ends."""
        held = self._open.pop(chunk.stream, None)
        ended: list[LogLine] = []
        if held is not None and _starts_a_line(chunk.data):
            ended += self._lines(held)
            held = None
        *whole, rest = ((held.data if held else "") + chunk.data).split("\n")
        for text in whole:
            ended += self._lines(Chunk(chunk.stream, chunk.at_s, text))
        while len(rest) > LINE_CHARACTERS_MAX:
            ended += self._lines(Chunk(chunk.stream, chunk.at_s, rest[:LINE_CHARACTERS_MAX]))
            rest = rest[LINE_CHARACTERS_MAX:]
        if len(self._open) >= STREAMS_MAX:
            ended += self._lines(self._open.pop(next(iter(self._open))))
        if rest:
            self._open[chunk.stream] = Chunk(chunk.stream, chunk.at_s, _shown(rest))
        return ended

    def end(self) -> list[LogLine]:
        """Return the lines still open, in the order in which their streams were last written to."""
        left = [line for chunk in self._open.values() for line in self._lines(chunk)]
        self._open.clear()
        return left

    def _lines(self, chunk: Chunk) -> list[LogLine]:
        """Return one line, or several if it is too long for one."""
        text = whole_text(self._redact(_shown(chunk.data).rstrip("\r")))
        pieces = [text[at : at + LINE_CHARACTERS_MAX] for at in range(0, len(text) or 1, LINE_CHARACTERS_MAX)]
        first, self._count = self._count, self._count + len(pieces)
        return [
            LogLine(number=number, stream=chunk.stream, at_s=chunk.at_s, text=piece)
            for number, piece in enumerate(pieces, first)
        ]


def _starts_a_line(data: str) -> bool:
    # A progress event always begins a line, so events survive even if Kaggle drops newlines.
    return data.startswith(PROGRESS_PREFIX)


def _shown(text: str) -> str:
    """Return the text as a terminal shows it: carriage returns of progress bars overwrite the line."""
    body = text.rstrip("\r")
    return body.rpartition("\r")[2] + text[len(body) :]


def chunk_of(entry: Any) -> Chunk | None:
    """Parse one entry of a log; None if it has no text."""
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), str):
        return None
    at_s = entry.get("time")
    seconds = float(at_s) if isinstance(at_s, (int, float)) and abs(at_s) <= SECONDS_MAX else 0.0
    return Chunk(str(entry.get("stream_name") or "stdout")[:STREAM_CHARACTERS_MAX], seconds, entry["data"])


def chunk_of_event(payload: str) -> Chunk | None:
    """Parse one `data:` line of an event stream; text that is not JSON becomes a line of its own."""
    try:
        entry = json.loads(payload)
    except (ValueError, RecursionError):
        return Chunk("stdout", 0.0, payload + "\n")
    return chunk_of(entry)


def entries_of(blocks: Iterable[str]) -> Iterator[Any]:
    """Yield the entries of a JSON array that arrives in blocks; text that is not JSON becomes an entry of its own."""
    rest, plain = "", False
    for block in blocks:
        rest += block
        plain = plain or rest.lstrip()[:1] not in ("", "[", "{", ",", "]") or len(rest) > UNREADABLE_CHARACTERS_MAX
        if plain:
            yield {"data": rest}
            rest = ""
            continue
        found, rest = _entries(rest)
        yield from found
    if rest:
        yield {"data": rest}


def _entries(text: str) -> tuple[list[Any], str]:
    """Return the complete entries at the start of a text, and the rest, which the next block may continue."""
    found: list[Any] = []
    place = _next_entry(text, 0)
    try:
        while place < len(text):
            entry, place = DECODER.raw_decode(text, place)
            found.append(entry)
            place = _next_entry(text, place)
    except (ValueError, RecursionError):
        pass
    return found, text[place:]


def _next_entry(text: str, place: int) -> int:
    found = BETWEEN_ENTRIES.match(text, place)
    return found.end() if found else place


def lines_of_log(blocks: Iterable[str], redact: Callable[[str], str] = str) -> Iterator[LogLine]:
    """Yield all lines of a finished log: Kaggle's JSON array, or plain text if it is not one."""
    lines = LineAssembler(redact)
    chunks = (chunk_of(entry) for entry in entries_of(blocks))
    for chunk in _with_newlines(chunk for chunk in chunks if chunk is not None):
        yield from lines.add(chunk)
    yield from lines.end()


def _with_newlines(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Yield the chunks; adds a newline to each if the first WITHOUT_NEWLINE_CHARACTERS_MAX characters have none."""
    held: list[Chunk] = []
    left = WITHOUT_NEWLINE_CHARACTERS_MAX
    for chunk in chunks:
        held.append(chunk)
        left -= len(chunk.data) + 1
        if "\n" in chunk.data or "\r" in chunk.data:
            yield from held
            yield from chunks
            return
        if left < 0:
            break
    for chunk in itertools.chain(held, chunks):
        yield Chunk(chunk.stream, chunk.at_s, chunk.data + "\n")
