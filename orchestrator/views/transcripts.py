"""Transcripts of an evaluation, read page by page from its artifact: memory is bounded by one page, not by the file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stages.safe_text import OddJson, read_json

PAGE_ROWS = 20
LINE_BYTES_MAX = 2**20
"""Longest line that is read as an answer, in bytes; a longer one is skipped."""
SCAN_BYTES_MAX = 16 * 2**20
"""Most bytes that are read for one page; a page of rare answers then ends early, and the next one goes on there."""
TEXT_CHARS_MAX = 20_000

FILTERS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], bool]]] = MappingProxyType(
    {
        "all": ("all answers", lambda row: True),
        "wrong": ("wrong answers", lambda row: not row.get("right")),
        "hard": ("answers to hard problems", lambda row: bool(row.get("hard"))),
        "disagree": ("answers on which the judges disagree", lambda row: bool(row.get("disagree"))),
    }
)
"""Words and condition of each filter."""


@dataclass(frozen=True, kw_only=True)
class TranscriptPage:
    """Answers from one position of the file on."""

    rows: tuple[Mapping[str, Any], ...]
    next_offset: int | None
    """Position in bytes at which the next page begins; None at the end of the file."""


def transcript_page(path: Path, show: str, offset: int, rows_max: int = PAGE_ROWS) -> TranscriptPage:
    """Return the answers that the filter `show` takes, from the byte `offset` on.

    An offset inside a line skips the rest of that line; one beyond the end gives an empty page. Lines that are no
    answers, such as the first one with the rates, are skipped. Raises KeyError for an unknown filter, OSError if the
    file cannot be read.
    """
    takes = FILTERS[show][1]
    found: list[Mapping[str, Any]] = []
    with path.open("rb") as file:
        if offset > 0:
            file.seek(offset - 1)
            _skip_rest_of_line(file.readline(LINE_BYTES_MAX), file)
        begin = file.tell()
        while len(found) < rows_max and file.tell() - begin < SCAN_BYTES_MAX:
            line = file.readline(LINE_BYTES_MAX)
            if not line:
                return TranscriptPage(rows=tuple(found), next_offset=None)
            whole = _skip_rest_of_line(line, file)
            row = _answer(line) if whole else None
            if row is not None and takes(row):
                found.append(row)
        after = file.tell()
        return TranscriptPage(rows=tuple(found), next_offset=after if file.read(1) else None)


def _skip_rest_of_line(line: bytes, file: Any) -> bool:
    """Read on to the end of the line; return whether the line was read whole already."""
    whole = line.endswith(b"\n") or len(line) < LINE_BYTES_MAX
    while line and not line.endswith(b"\n"):
        line = file.readline(LINE_BYTES_MAX)
    return whole


def _answer(line: bytes) -> Mapping[str, Any] | None:
    try:
        row = read_json(line.decode(errors="replace"), left_out=True)
    except OddJson:
        return None
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("key", "question", "answer")):
        return None
    judges = row.get("disagree")
    return {
        **{name: _cut(row[name]) for name in ("key", "question", "answer")},
        **{name: _cut(str(row.get(name, ""))) for name in ("set", "wanted")},
        **{name: bool(row.get(name)) for name in ("hard", "format", "right", "cut")},
        "disagree": {_cut(str(judge)): str(said) for judge, said in judges.items()} if isinstance(judges, dict) else {},
    }


def _cut(text: str) -> str:
    left_out = len(text) - TEXT_CHARS_MAX
    return text if left_out <= 0 else f"{text[:TEXT_CHARS_MAX]} … ({left_out:,} more characters)"
