"""Pictures of tables. A picture is as large as its text, so nothing overlaps."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from orchestrator.views.writeup.drawing.canvas import (
    COLOURS,
    FAINT,
    FILLS,
    INK,
    RULE,
    drawing,
    figure,
    png,
    text_width_in,
    wrapped,
    write_mark,
)
from orchestrator.views.writeup.ledger import Ledger
from orchestrator.views.writeup.tables import TableContent, cell_text

SIZE_PT = 9.0
TITLE_PT = 11.0
ROW_IN = 0.27
PAD_IN = 0.14
MARGIN_IN = 0.18
TITLE_IN = 0.35
LINE_IN = 0.165
COLUMN_MAX_IN = 2.6
LINES_MAX = 3


def table_picture(table: TableContent, ledger: Ledger, mark: str) -> bytes:
    """Return a table as PNG."""
    texts = [[cell_text(cell, ledger, table.file) for cell in row] for row in (table.header, *table.rows)]
    with drawing():
        made = _picture(table, [[wrapped(text, SIZE_PT, COLUMN_MAX_IN, LINES_MAX) for text in row] for row in texts])
        write_mark(made, mark)
        return png(made)


def _picture(table: TableContent, texts: Sequence[Sequence[Sequence[str]]]) -> Figure:
    widths = [
        2 * PAD_IN
        + max(
            text_width_in(line, SIZE_PT, bold=number == 0) for number, row in enumerate(texts) for line in row[column]
        )
        for column in range(len(table.header))
    ]
    heights = [ROW_IN + LINE_IN * (max(len(lines) for lines in row) - 1) for row in texts]
    inner_in = max(sum(widths), text_width_in(table.title, TITLE_PT, bold=True), text_width_in(table.note, SIZE_PT))
    width_in = inner_in + 2 * MARGIN_IN
    height_in = 2 * MARGIN_IN + sum(heights) + TITLE_IN + (ROW_IN if table.note else 0.0)
    made = figure(width_in, height_in)
    axes = made.add_axes((0, 0, 1, 1), xlim=(0, width_in), ylim=(0, height_in))
    axes.axis("off")
    axes.text(MARGIN_IN, height_in - MARGIN_IN - 0.12, table.title, size=TITLE_PT, weight="bold", va="center")
    low, right_in = height_in - MARGIN_IN - TITLE_IN, MARGIN_IN + sum(widths)
    axes.add_patch(Rectangle((MARGIN_IN, low - ROW_IN), sum(widths), ROW_IN, facecolor=FILLS["training"], linewidth=0))
    for number, row in enumerate(texts):
        low -= heights[number]
        axes.plot([MARGIN_IN, right_in], [low, low], color=RULE, linewidth=0.8)
        _row(axes, table, row, widths, low + heights[number] / 2, header=number == 0)
    if table.note:
        axes.text(MARGIN_IN, MARGIN_IN, table.note, size=SIZE_PT, color=FAINT, va="bottom")
    return made


def _row(
    axes: Axes,
    table: TableContent,
    row: Sequence[Sequence[str]],
    widths: Sequence[float],
    middle: float,
    *,
    header: bool,
) -> None:
    left = MARGIN_IN
    for column, lines in enumerate(row):
        right = column in table.right
        x = left + widths[column] - PAD_IN if right else left + PAD_IN
        for number, line in enumerate(lines):
            axes.text(
                x,
                middle + LINE_IN * ((len(lines) - 1) / 2 - number),
                line,
                size=SIZE_PT,
                weight="bold" if header else "normal",
                color=COLOURS["training"] if header else INK,
                ha="right" if right else "left",
                va="center_baseline",
            )
        left += widths[column]
