"""Extracts a log from a JSON answer while it arrives, since the log may be larger than memory.

Kaggle's ListKernelSessionOutput answers `{"files": […], "log": "…", "nextPageToken": "…"}`. The text of `log` is
passed on in pieces or dropped; the rest is a small JSON answer.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator

KEY = b'"log"'
MARKS = re.compile(rb'["{}\[\]:,]')
INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""The rest of a JSON string, from any position that does not follow a backslash; possessive, so that it takes no
memory."""
WHOLE_ESCAPES = re.compile(r"(?:[^\\]++|\\u[0-9a-fA-F]{4}|\\[^u])*+", re.DOTALL)


class LogSieve:
    """Splits the bytes of one JSON object: `feed` returns them without the text of `log`, which is then in `log`."""

    def __init__(self) -> None:
        self.log = b""
        """Bytes of the log in the last block fed, still JSON-escaped."""
        self._depth = 0
        self._key = b""
        self._at_value = False
        self._string: bytearray | None = None
        """Beginning of the string being read; None outside of strings."""
        self._in_log = False
        """True while the string being read is the log."""
        self._rest = b""

    def feed(self, block: bytes) -> bytes:
        """Return the block without the log's bytes."""
        block, self._rest, self.log = self._rest + block, b"", b""
        kept, log, place = bytearray(), bytearray(), 0
        while place < len(block):
            if self._string is None:
                place = self._structure(block, place, kept)
                continue
            found = INSIDE.match(block, place)
            end = found.end() if found else place
            (log if self._in_log else kept).extend(block[place:end])
            if len(self._string) <= len(KEY):
                self._string += block[place : min(end, place + len(KEY))]
            if end < len(block) and block[end] == ord("\\"):  # the escaped character comes with the next block
                self._rest = block[end:]
                break
            if end < len(block):
                kept.append(block[end])
                self._key, self._string, end = b'"%b"' % bytes(self._string), None, end + 1
            place = end
        self.log = bytes(log)
        return bytes(kept)

    def _structure(self, block: bytes, place: int, kept: bytearray) -> int:
        """Advance past the next structural character outside of strings."""
        found = MARKS.search(block, place)
        end = found.end() if found else len(block)
        kept.extend(block[place:end])
        match found and found.group():
            case b'"':
                self._string = bytearray()
                self._in_log = self._at_value and self._depth == 1 and self._key == KEY
            case b"{" | b"[":
                self._depth += 1
            case b"}" | b"]":
                self._depth -= 1
        if found:
            self._at_value = found.group() == b":"
        return end


def unescaped(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the text of a JSON string from pieces of its escaped form."""
    rest = ""
    for piece in codecs.iterdecode(pieces, "utf-8", errors="replace"):
        rest += piece
        found = WHOLE_ESCAPES.match(rest)
        end = found.end() if found else 0
        if len(rest) - end > len("\\uffff"):  # longer than any escape, so it is not JSON
            end = len(rest)
        if end:
            yield _text(rest[:end])
        rest = rest[end:]
    if rest:
        yield _text(rest)


def _text(escaped: str) -> str:
    try:
        return str(json.loads(f'"{escaped}"', strict=False))
    except ValueError:
        return escaped
