"""Print a view: as wide as the terminal, through a pipe as wide as it needs to be, and in ASCII where there is no Unicode."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from orchestrator.base.terminal import CONTROLS, Outward, encodable, escape_controls

PIPE_COLUMNS = 140


class Ascii:
    """A stream for terminals that have nothing but ASCII; what has no likeness there is a question mark."""

    encoding = "ascii"

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text's likeness."""
        return self._stream.write(encodable(text, "ascii"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def printable(stream: IO[str], environ: Mapping[str, str] = os.environ) -> IO[str]:
    """The stream, or one that writes ASCII to it where its encoding or the locale has no Unicode."""
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
    if encoding.startswith("utf") and not plain_locale(environ):
        return stream
    return Ascii(stream)  # type: ignore[return-value]


def plain_locale(environ: Mapping[str, str]) -> bool:
    """Whether somebody chose the C locale. Python itself writes UTF-8 there all the same, and may have set LC_CTYPE to do so."""
    ctype = environ.get("LC_CTYPE", "")
    coerced = ctype in ("C.UTF-8", "C.utf8", "UTF-8")
    chosen = environ.get("LC_ALL") or ("" if coerced else ctype) or environ.get("LANG") or ""
    return chosen in ("C", "POSIX")


def console(stream: IO[str] | None = None, environ: Mapping[str, str] = os.environ) -> Console:
    """A console on a stream, standard output by default."""
    stream = stream or sys.stdout
    real = stream.stream if isinstance(stream, Outward) else stream  # the console's own sequences are to be obeyed
    return ShownConsole(file=printable(real, environ), highlight=False, width=_columns(real, environ))


class ShownConsole(Console):
    """A console that escapes the controls in what it is given, and not those that it makes itself."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        if isinstance(renderable, Text) and CONTROLS.search(renderable.plain):
            renderable = self._escaped(renderable)  # before it is wrapped, so that columns stay where they are
        for segment in super().render(renderable, options):
            odd = segment.control is None and CONTROLS.search(segment.text)
            yield Segment(escape_controls(segment.text), segment.style) if odd else segment

    def _escaped(self, text: Text) -> Text:
        parts = [(escape_controls(part.text), part.style or "") for part in text.render(self)]
        return Text.assemble(
            *parts, style=text.style, justify=text.justify, overflow=text.overflow, no_wrap=text.no_wrap, end=text.end
        )


def _columns(stream: IO[str], environ: Mapping[str, str]) -> int | None:
    """None: as rich finds out, which does not look at all where the terminal is a dumb one."""
    if not stream.isatty():
        return PIPE_COLUMNS
    return shutil.get_terminal_size().columns if environ.get("TERM", "") in ("dumb", "unknown") else None


def redraws(on: Console) -> bool:
    """Whether what was written can be written over."""
    return on.is_terminal and not on.is_dumb_terminal


def print_view(view: RenderableType) -> None:
    """Print to standard output; through a pipe without the blanks that fill up a table's columns."""
    on = console()
    if on.is_terminal:
        on.print(view)
        return
    with on.capture() as captured:
        on.print(view)
    on.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
