"""What several commands share: their arguments, the app, signals, the daemon's lines."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import completing

if TYPE_CHECKING:  # imported where they are used: `relay --help` must not wait for SQLAlchemy or rich
    from orchestrator.app import App
    from orchestrator.clock import Stop
    from orchestrator.tick import Turn

PIPELINE = click.argument("pipeline", type=click.Path(path_type=Path), shell_complete=completing.pipelines)
PIPELINE_OR_NONE = click.argument(
    "pipeline", required=False, type=click.Path(path_type=Path), shell_complete=completing.pipelines
)
RUN = click.argument("run", shell_complete=completing.runs)
RUN_OR_NONE = click.argument("run", required=False, shell_complete=completing.runs)
WRITE_OFF = click.option(
    "--write-off", is_flag=True, help="Expect nothing more of the session on Kaggle; the next one takes its place."
)


def app_of(context: click.Context) -> "App":
    from orchestrator.app import App

    return App(context.obj)


def stop_on_signals(stop: "Stop") -> None:
    """SIGTERM and SIGINT ask to stop; a second one ends the program at once."""

    def ask(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)


def announce(run: str, turn: "Turn") -> None:
    from orchestrator.disk import unless_full
    from orchestrator.views.events import lines

    with unless_full():
        for line in lines(turn):
            click.echo(f"{run}  {line}")
        sys.stdout.flush()
