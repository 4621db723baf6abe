"""What screens are put together from: labelled lines, plain tables, and what is left out where there is little room."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

NARROW_COLUMNS = 64
"""A terminal with fewer gets the narrow form of what has one."""


@dataclass(frozen=True)
class Either:
    """The wide form where there is room for it, else the narrow one."""

    wide: RenderableType
    narrow: RenderableType
    columns: int = NARROW_COLUMNS

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.wide if options.max_width >= self.columns else self.narrow

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        chosen = self.wide if options.max_width >= self.columns else self.narrow
        return Measurement.get(console, options, chosen)


def labelled(lines: Iterable[tuple[str, RenderableType]]) -> Table:
    """A name and what there is to say of it, a line each; a long sentence goes on below itself."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, said in lines:
        grid.add_row(Text(f"  {name}", style="dim"), said)
    return grid


def sentence(text: str, style: str = "") -> RenderableType:
    """A sentence that goes on below its own beginning."""
    return Padding(Text(text, style=style), (0, 0, 0, 2), expand=False)


def plain_table(padding: int = 1) -> Table:
    """A table without lines around it."""
    return Table(box=None, padding=(0, padding), pad_edge=False, show_edge=False, header_style="dim")
