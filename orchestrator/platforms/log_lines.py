"""Lines of a log file, with the session time that relay's own lines carry."""

from collections.abc import Iterator
from typing import IO

from orchestrator.platforms.port import LogLine
from stages.contract import PROGRESS_PREFIX, Progress

LINE_BYTES_MAX = 2**22
"""Longest line that is kept whole, in bytes; a longer one is shown in parts."""


def lines_in(stream: IO[bytes], *, whole: bool) -> Iterator[LogLine]:
    """Yield the lines of a log; unless it is `whole`, without a last line that is still being written.

    Files keep no times. `at_s` of a line is that of the newest progress line up to there.
    """
    at_s, number = 0.0, 0
    while raw := stream.readline(LINE_BYTES_MAX):
        if not raw.endswith(b"\n") and len(raw) < LINE_BYTES_MAX and not whole:
            return
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        if text.startswith(PROGRESS_PREFIX) and (event := Progress.from_line(text)) is not None:
            at_s = max(at_s, event.at_s)
        yield LogLine(number=number, stream="stdout", at_s=at_s, text=text)
        number += 1
