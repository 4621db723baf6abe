"""What several commands share: their arguments, the app, signals."""

import gc
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import completing

if TYPE_CHECKING:  # imported where they are used: `relay --help` must not wait for SQLAlchemy or rich
    from orchestrator.app.app import App
    from orchestrator.app.workspace import Workspace
    from orchestrator.base.clock import Stop

PIPELINE = click.argument("pipeline", type=click.Path(path_type=Path), shell_complete=completing.pipelines)
PIPELINE_OR_NONE = click.argument(
    "pipeline", required=False, type=click.Path(path_type=Path), shell_complete=completing.pipelines
)
RUN = click.argument("run", shell_complete=completing.runs)
RUN_OR_NONE = click.argument("run", required=False, shell_complete=completing.runs)
WRITE_OFF = click.option(
    "--abandon-session",
    is_flag=True,
    help="Expect nothing more of the session on Kaggle; the next one takes its place.",
)

JSON = click.option("--json", "as_json", is_flag=True, help="A stable document for programs (docs/json.md).")


GC_THRESHOLD = 50_000
"""Objects between two looks for garbage. There is none in what is imported, and looking for it is a tenth of a short command."""


def app_of(context: click.Context) -> "App":
    from orchestrator.app.app import App

    return App(context.obj)


def onlooker_of(context: click.Context) -> "Workspace":
    """For commands that only look: they must not wait for what only the daemon needs."""
    gc.set_threshold(GC_THRESHOLD)
    from orchestrator.app.workspace import Workspace

    return Workspace(context.obj)


def stop_on_signals(stop: "Stop") -> None:
    """SIGTERM, SIGINT and the SIGHUP of a terminal that closes ask to stop; a second one ends the program at once.

    Whoever started it with SIGHUP ignored, as `nohup` does, wants it to outlive the terminal.
    """

    def ask(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, ask)
