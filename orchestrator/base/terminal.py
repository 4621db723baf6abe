"""Filters text for the terminal: escapes control characters, and adapts to the terminal's encoding.

Kaggle's messages, the output of sessions, and the names of metrics and files are untrusted. A terminal acts on some
characters: escape sequences move the cursor, set the title and the clipboard, and direction marks make a line read as
another one.
"""

import contextlib
import re
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any

CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Matches C0 except tab and newline, DEL, C1, line and paragraph separators, direction marks, and surrogates."""

LIKENESS = str.maketrans(
    {
        "▁": "_",
        "▂": ".",
        "▃": ":",
        "▄": "-",
        "▅": "=",
        "▆": "+",
        "▇": "*",
        "█": "#",
        "░": ".",
        "│": "|",
        "·": "-",
        "…": "~",
        "✓": "+",
        "✗": "x",
    }
    | {"±": "~", "×": "x", "→": ">", "–": "-", "—": "-", "“": '"', "”": '"', "‘": "'", "’": "'"}
)
"""ASCII replacements for characters that relay prints: one for one, so that columns stay aligned."""


def escape_controls(text: str) -> str:
    """Return the text with each control character escaped as `\\u001b`, which JSON reads as the same character."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def encodable(text: str, encoding: str) -> str:
    """Return the text in an encoding's characters; those without a replacement become question marks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(LIKENESS).encode(encoding, "replace").decode(encoding)
    return text


class EscapingStream:
    """A stream that filters everything printed before it reaches the real one."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str | bytes) -> int:
        """Write filtered text; bytes, which click passes for shell completion, are decoded as UTF-8."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        self.stream.write(encodable(escape_controls(text), getattr(self.stream, "encoding", None) or "utf-8"))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # where the encoding is ASCII, click would write bytes to it and bypass this filter
            raise AttributeError(name)
        return getattr(self.stream, name)


@contextlib.contextmanager
def escape_output() -> Iterator[None]:
    """Pass everything that this process prints through `EscapingStream`, including a final traceback."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and EscapingStream(stream) for stream in before)
    sys.excepthook = _traceback
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if sys.stderr is not None:
        EscapingStream(sys.stderr).writelines(traceback.format_exception(kind, error, trace))
