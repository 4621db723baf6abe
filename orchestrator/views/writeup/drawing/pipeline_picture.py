"""The picture of a pipeline: boxes in rows, joined by arrows."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from orchestrator.views.writeup.diagram import MERMAID_FILE, DiagramBox
from orchestrator.views.writeup.drawing.canvas import (
    COLOURS,
    FAINT,
    FILLS,
    INK,
    drawing,
    figure,
    png,
    svg,
    text_width_in,
    wrapped,
    write_mark,
)
from orchestrator.views.writeup.ledger import Ledger

FILES = ("pipeline.svg", "pipeline.png")
BOXES_MAX = 24
"""Maximum number of boxes drawn; the text in Mermaid's language has all of them."""
CUT = f"The pipeline goes on: {MERMAID_FILE} has all of it."
IN_ROW = 4
BOX_IN = 1.85
GAP_IN = 0.38
MARGIN_IN = 0.15
LINE_IN = 0.19
PAD_IN = 0.11
ROW_GAP_IN = 0.42
TITLE_PT = 9.5
TITLE_MIN_PT = 8.5
"""Size of a title that would be too wide."""
LINE_PT = 8.5
INNER_IN = BOX_IN - 2 * PAD_IN
LINES_MAX = 2
"""Maximum number of lines that a title, or one line of a box, is broken into."""


class BoxLine(NamedTuple):
    """A drawn line of a box."""

    text: str
    size: float
    title: bool


def pipeline_pictures(found: Sequence[DiagramBox], ledger: Ledger, title: str, mark: str) -> dict[str, bytes]:
    """Return the picture as SVG and PNG."""
    shown = found[:BOXES_MAX]
    in_svg, in_png = ([box.texts(ledger, file) for box in shown] for file in FILES)
    assert in_svg == in_png
    with drawing():
        made = _drawn(shown, [_wrapped(lines) for lines in in_png], cut=len(found) > BOXES_MAX)
        write_mark(made, mark)
        return {FILES[0]: svg(made, title), FILES[1]: png(made)}


def _wrapped(texts: Sequence[str]) -> list[BoxLine]:
    """Break the lines of a box, of which the first is its title, to its width."""
    title, *others = texts
    narrow = text_width_in(title, TITLE_PT, bold=True) > INNER_IN
    size = TITLE_MIN_PT if narrow else TITLE_PT
    found = [BoxLine(line, size, title=True) for line in wrapped(title, size, INNER_IN, LINES_MAX, bold=True)]
    for text in others:
        found += [BoxLine(line, LINE_PT, title=False) for line in wrapped(text, LINE_PT, INNER_IN, LINES_MAX)]
    return found


def _drawn(found: Sequence[DiagramBox], texts: Sequence[Sequence[BoxLine]], *, cut: bool) -> Figure:
    columns = min(IN_ROW, len(found))
    height_in = 2 * PAD_IN + LINE_IN * max(len(lines) for lines in texts)
    count = -(-len(found) // columns)
    note_in = LINE_IN if cut else 0.0
    width_in = 2 * MARGIN_IN + columns * BOX_IN + (columns - 1) * GAP_IN
    total_in = 2 * MARGIN_IN + count * height_in + (count - 1) * ROW_GAP_IN + note_in
    made = figure(width_in, total_in)
    axes = made.add_axes((0, 0, 1, 1), xlim=(0, width_in), ylim=(0, total_in))
    axes.axis("off")
    corners = []
    for number in range(len(found)):
        row, column = divmod(number, columns)
        left = MARGIN_IN + column * (BOX_IN + GAP_IN)
        corners.append((left, total_in - MARGIN_IN - height_in - row * (height_in + ROW_GAP_IN)))
    for box, lines, corner in zip(found, texts, corners, strict=True):
        _box(axes, box.style, lines, corner, height_in)
    for number, (left, low) in enumerate(corners[:-1]):
        _arrow(axes, (left, low), corners[number + 1], height_in)
    if cut:
        axes.text(MARGIN_IN, MARGIN_IN, CUT, size=LINE_PT, color=FAINT, va="bottom")
    return made


def _box(axes: Axes, style: str, lines: Sequence[BoxLine], corner: tuple[float, float], height_in: float) -> None:
    left, low = corner
    axes.add_patch(
        FancyBboxPatch(
            (left + 0.05, low + 0.05),
            BOX_IN - 0.1,
            height_in - 0.1,
            boxstyle="round,pad=0.05",
            facecolor=FILLS[style],
            edgecolor=COLOURS[style],
            linewidth=1.2,
        )
    )
    top = low + height_in - (height_in - LINE_IN * len(lines)) / 2
    for number, line in enumerate(lines):
        axes.text(
            left + BOX_IN / 2,
            top - LINE_IN * (number + 0.5),
            line.text,
            size=line.size,
            weight="bold" if line.title else "normal",
            color=COLOURS[style] if line.title else INK,
            ha="center",
            va="center",
        )


def _arrow(axes: Axes, box: tuple[float, float], following: tuple[float, float], height_in: float) -> None:
    """Draw the arrow to the next box: to the right, or around the end of a row to the beginning of the next one."""
    (left, low), (next_left, next_low) = box, following
    look = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
    if next_low == low:
        middle = low + height_in / 2
        axes.annotate("", xy=(next_left - 0.02, middle), xytext=(left + BOX_IN + 0.02, middle), arrowprops=look)
        return
    x, next_x, between = left + BOX_IN / 2, next_left + BOX_IN / 2, low - ROW_GAP_IN / 2
    axes.plot([x, x, next_x], [low - 0.02, between, between], color=FAINT, linewidth=1.2, solid_joinstyle="round")
    axes.annotate("", xy=(next_x, next_low + height_in + 0.02), xytext=(next_x, between), arrowprops=look)
