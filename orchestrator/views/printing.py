"""Printing of views: as wide as the terminal, fixed width through a pipe, and ASCII where Unicode is not supported."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from orchestrator.base.terminal import CONTROLS, EscapingStream, encodable, escape_controls

PIPE_COLUMNS = 140


class Ascii:
    """Text stream for ASCII-only terminals. Characters without an ASCII equivalent become question marks."""

    encoding = "ascii"

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text in its closest ASCII form."""
        return self._stream.write(encodable(text, "ascii"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def printable(stream: IO[str], environ: Mapping[str, str] = os.environ) -> IO[str]:
    """Return the stream, or an ASCII wrapper if its encoding or the locale does not support Unicode."""
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
    if encoding.startswith("utf") and not plain_locale(environ):
        return stream
    return Ascii(stream)  # type: ignore[return-value]


def plain_locale(environ: Mapping[str, str]) -> bool:
    """Return whether the user chose the C locale. Python writes UTF-8 there, and may set LC_CTYPE to do so."""
    ctype = environ.get("LC_CTYPE", "")
    coerced = ctype in ("C.UTF-8", "C.utf8", "UTF-8")
    chosen = environ.get("LC_ALL") or ("" if coerced else ctype) or environ.get("LANG") or ""
    return chosen in ("C", "POSIX")


def console(stream: IO[str] | None = None, environ: Mapping[str, str] = os.environ) -> Console:
    """Return a console for a stream, by default standard output."""
    stream = stream or sys.stdout
    real = stream.stream if isinstance(stream, EscapingStream) else stream  # rich's own sequences pass
    return ShownConsole(file=printable(real, environ), highlight=False, width=_columns(real, environ))


class ShownConsole(Console):
    """Console that escapes control characters in its input, but not its own escape sequences."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        if isinstance(renderable, Text) and CONTROLS.search(renderable.plain):
            renderable = self._escaped(renderable)  # before it is wrapped, so that columns stay aligned
        for segment in super().render(renderable, options):
            odd = segment.control is None and CONTROLS.search(segment.text)
            yield Segment(escape_controls(segment.text), segment.style) if odd else segment

    def _escaped(self, text: Text) -> Text:
        parts = [(escape_controls(part.text), part.style or "") for part in text.render(self)]
        return Text.assemble(
            *parts, style=text.style, justify=text.justify, overflow=text.overflow, no_wrap=text.no_wrap, end=text.end
        )


def _columns(stream: IO[str], environ: Mapping[str, str]) -> int | None:
    """Return the width in columns; None lets rich detect it, which it does not do for dumb terminals."""
    if not stream.isatty():
        return PIPE_COLUMNS
    return shutil.get_terminal_size().columns if environ.get("TERM", "") in ("dumb", "unknown") else None


def can_redraw(on: Console) -> bool:
    """Return whether the terminal can overwrite earlier output."""
    return on.is_terminal and not on.is_dumb_terminal


def print_view(view: RenderableType) -> None:
    """Print a view to standard output. Through a pipe, trailing blanks of table columns are removed."""
    on = console()
    if on.is_terminal:
        on.print(view)
        return
    with on.capture() as captured:
        on.print(view)
    on.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
