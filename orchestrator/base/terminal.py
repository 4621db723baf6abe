"""What a screen is given: text from outside with its controls escaped, in whatever encoding the screen has.

Kaggle's messages, what sessions print, names of metrics and of files are anybody's text. A terminal obeys some of it: escape
sequences move the cursor, set the title and the clipboard, and a mark of direction makes a line read as another one.
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
"""C0 but tab and newline, DEL, C1, line and paragraph separators, marks of direction, and halves of characters."""

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
"""ASCII for what relay itself shows: one character for one, so that columns stay where they are."""


def escape_controls(text: str) -> str:
    """The text with each control as `\\u001b`, which is the same character again inside JSON."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def encodable(text: str, encoding: str) -> str:
    """The text as far as an encoding has it; what has no likeness there is a question mark."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(LIKENESS).encode(encoding, "replace").decode(encoding)
    return text


class Outward:
    """A stream that everything that is printed passes on its way to the real one."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str | bytes) -> int:
        """Write what may be shown of the text; bytes, as click hands over what a shell may complete, are read as UTF-8."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        self.stream.write(encodable(escape_controls(text), getattr(self.stream, "encoding", None) or "utf-8"))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # click would write bytes to it, past all this, where the encoding is ASCII
            raise AttributeError(name)
        return getattr(self.stream, name)


@contextlib.contextmanager
def outward() -> Iterator[None]:
    """Have everything that this process prints pass `Outward`; a traceback that ends it does so too."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and Outward(stream) for stream in before)
    sys.excepthook = _traceback
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if sys.stderr is not None:
        Outward(sys.stderr).writelines(traceback.format_exception(kind, error, trace))
