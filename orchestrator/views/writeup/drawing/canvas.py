"""Settings and colours of all pictures, measured text, and files of equal bytes for equal content."""

import functools
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

DPI = 150
BREAKABLE = re.compile(r"[^\s/_,-]*(?:[/_,-]+\s*|\s+|$)")
"""Pieces of a text between which a line may end."""
POINTS_PER_INCH = 72.0
FONT_PT = 100.0
"""Size at which characters are measured."""
INK = "#1b2733"
FAINT = "#5b6b7a"
RULE = "#c5ced6"
WARNING = "#a3341c"
MARK_PT, MARK_IN = 6.5, 0.03
"""Size of the line that marks a picture, and its distance from the edges in inches."""
COLOURS = {"model": "#455a64", "training": "#1f5fa8", "evaluation": "#1d7a46", "other": "#9a6a00"}
FILLS = {"model": "#eceff1", "training": "#dbe9fb", "evaluation": "#dff3e4", "other": "#fdf1d8"}
"""Colours of boxes and lines by their class."""
SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "svg.hashsalt": "relay",
    "svg.fonttype": "path",
}
"""Settings of matplotlib that differ from its own defaults. The font comes with matplotlib."""


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with these settings alone, whatever the user's own matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def figure(width_in: float, height_in: float) -> Figure:
    """Return an empty white figure."""
    made = Figure(figsize=(width_in, height_in), facecolor="white")
    FigureCanvasAgg(made)
    return made


def write_mark(made: Figure, text: str, colour: str = WARNING) -> None:
    """Write a small line into the lower right corner, where the margin of every picture has room for it."""
    if text:
        width_in, height_in = made.get_size_inches()
        place = 1 - MARK_IN / width_in, MARK_IN / height_in
        made.text(*place, text, size=MARK_PT, weight="bold", color=colour, ha="right", va="bottom")


def png(made: Figure, dpi: float = DPI) -> bytes:
    """Return a figure as PNG, without the name and version of the program that wrote it."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def svg(made: Figure, title: str) -> bytes:
    """Return a figure as SVG, without date and program."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return buffer.getvalue()


# --- text -----------------------------------------------------------------------------


def text_width_in(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of one line in inches, from the advances of its characters."""
    return sum(_advance(character, bold) for character in text) * size / POINTS_PER_INCH


@functools.cache
def _advance(character: str, bold: bool) -> float:
    """Return how far a character moves the pen, as a share of the size of the font."""
    return float(_font(bold).load_char(ord(character)).linearHoriAdvance) / 65536 / FONT_PT


@functools.cache
def _font(bold: bool) -> FT2Font:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    font = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name))
    font.set_size(FONT_PT, POINTS_PER_INCH)
    return font


def fitted(text: str, size: float, width_in: float, *, bold: bool = False) -> str:
    """Return as much of a text as fits into a width, with an ellipsis where it was cut."""
    text = drawable(text)
    if text_width_in(text, size, bold=bold) <= width_in:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width_in(text[:middle] + "…", size, bold=bold) <= width_in:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def wrapped(text: str, size: float, width_in: float, lines_max: int, *, bold: bool = False) -> list[str]:
    """Break a text into lines of a width, after spaces and marks. What exceeds the last line is cut."""
    lines = [""]
    for piece in BREAKABLE.findall(drawable(text)):
        if lines[-1] and text_width_in((lines[-1] + piece).rstrip(), size, bold=bold) > width_in:
            lines.append(piece)
        else:
            lines[-1] += piece
    lines = [*lines[: lines_max - 1], "".join(lines[lines_max - 1 :])]
    return [fitted(line, size, width_in, bold=bold) for line in lines if line] or [""]


def drawable(text: str) -> str:
    """Return a text with a question mark for each character that the font lacks."""
    known = _characters()
    return "".join(character if ord(character) in known else "?" for character in " ".join(text.split()))


@functools.cache
def _characters() -> frozenset[int]:
    return frozenset(_font(False).get_charmap())
