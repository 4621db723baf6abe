"""Print a view: as wide as the terminal, and through a pipe as wide as it needs to be."""

import sys

from rich.console import Console, RenderableType

PIPE_COLUMNS = 140


def print_view(view: RenderableType) -> None:
    """Print to standard output."""
    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    Console(highlight=False, width=width).print(view)
