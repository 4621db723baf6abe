"""Building blocks of text views: labelled lines, plain tables, and narrow forms for small terminals."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

NARROW_COLUMNS = 64
"""Terminals with fewer columns get the narrow form."""


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


def labelled(lines: Iterable[tuple[str, RenderableType]]) -> Table:
    """Lay out names with their values, one per line. Long values wrap within their own column."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, said in lines:
        grid.add_row(Text(f"  {name}", style="dim"), said)
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
