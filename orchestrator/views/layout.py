"""Building blocks of text views: labelled lines, plain tables, and narrow forms for small terminals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

NARROW_COLUMNS = 64
"""Terminals with fewer columns get the narrow form."""
UNLIMITED_COLUMNS = 10_000
CELL_GAP = 2
HANGING_COLUMNS = 2


@dataclass(frozen=True)
class WideOrNarrow:
    """Shows the wide form if it fits, else the narrow one."""

    wide: RenderableType
    narrow: RenderableType
    columns: int = NARROW_COLUMNS

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.wide if options.max_width >= self.columns else self.narrow

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        chosen = self.wide if options.max_width >= self.columns else self.narrow
        return Measurement.get(console, options, chosen)


@dataclass(frozen=True)
class FirstThatFits:
    """Shows the first form that needs no more columns than there are, else the last one."""

    forms: Sequence[RenderableType]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._chosen(console, options)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._chosen(console, options))

    def _chosen(self, console: Console, options: ConsoleOptions) -> RenderableType:
        unlimited = options.update(max_width=UNLIMITED_COLUMNS)
        fitting = (f for f in self.forms if Measurement.get(console, unlimited, f).maximum <= options.max_width)
        return next(fitting, self.forms[-1])


@dataclass(frozen=True)
class AlignedCells:
    """Short texts side by side, each in `columns` columns, and as many in a line as fit."""

    cells: Sequence[str]
    columns: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        count = max(1, (options.max_width + CELL_GAP) // (self.columns + CELL_GAP))
        for first in range(0, len(self.cells), count):
            line = [
                set_cell_size(cell, max(self.columns, cell_len(cell))) for cell in self.cells[first : first + count]
            ]
            yield Text((" " * CELL_GAP).join(line).rstrip(), overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        longest = max((cell_len(cell) for cell in self.cells), default=0)
        whole = len(self.cells) * (self.columns + CELL_GAP) - CELL_GAP
        return Measurement(longest, max(longest, whole)).with_maximum(options.max_width)


@dataclass(frozen=True)
class HangingText:
    """Text whose lines after the first are indented."""

    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = self.text.wrap(console, max(1, options.max_width - HANGING_COLUMNS))
        for number, line in enumerate(lines):
            yield Text.assemble(" " * HANGING_COLUMNS, line) if number else line


def labelled(lines: Iterable[tuple[str, RenderableType]]) -> Table:
    """Lay out names with their values, one per line. Long names and long values wrap within their own columns."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    for name, said in lines:
        grid.add_row(Padding(Text(name, style="dim", overflow="fold"), (0, 0, 0, 2), expand=False), said)
    return grid


def sentence(text: str, style: str = "") -> RenderableType:
    """Lay out an indented sentence that wraps below its beginning."""
    return Padding(Text(text, style=style), (0, 0, 0, 2), expand=False)


def plain_table(*columns: str) -> Table:
    """Return a table without borders, with these columns; further ones may be added."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name)
    return table
