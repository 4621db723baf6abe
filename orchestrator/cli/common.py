"""Parts that several commands share: arguments and options, the app, signal handling."""

import gc
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import completing

if TYPE_CHECKING:  # imported on use: `relay --help` must not wait for pydantic or rich
    from orchestrator.app.app import App
    from orchestrator.app.requests import RequestReceipt
    from orchestrator.app.workspace import Workspace
    from orchestrator.base.clock import Stop


class PipelineFile(click.Path):
    """Path of a pipeline file, or the name of one of relay's examples, such as `counting`."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the path; that of the example if the name means one and no such file exists."""
        from orchestrator.pipeline.examples import bundled

        found: Any = super().convert(value, parameter, context)
        return bundled(found)


PIPELINE = click.argument("pipeline", type=PipelineFile(), shell_complete=completing.pipelines)
PIPELINE_OR_NONE = click.argument("pipeline", required=False, type=PipelineFile(), shell_complete=completing.pipelines)
RUN = click.argument("run", shell_complete=completing.runs)
RUN_OR_NONE = click.argument("run", required=False, shell_complete=completing.runs)
ABANDON_SESSION = click.option(
    "--abandon-session",
    is_flag=True,
    help="Stop waiting for the session and start the next one in its place. A job of a cluster or a process on a machine "
    "is stopped first; a session on Kaggle goes on until it ends.",
)

JSON = click.option("--json", "as_json", is_flag=True, help="Print a stable document for programs (docs/json.md).")


GC_THRESHOLD = 50_000
"""Threshold of the garbage collector, in objects. The default costs a short command a tenth of its time."""


def app_of(context: click.Context) -> "App":
    from orchestrator.app.app import App

    return App(context.obj)


def workspace_of(context: click.Context) -> "Workspace":
    """Return read access for a command that changes nothing, without importing what only the daemon needs."""
    gc.set_threshold(GC_THRESHOLD)
    from orchestrator.app.workspace import Workspace

    return Workspace(context.obj)


def stop_on_signals(stop: "Stop") -> None:
    """Make SIGTERM, SIGINT, SIGHUP and Windows' SIGBREAK request a stop. A second signal ends the program at once.

    SIGHUP is left alone if it is ignored, as under `nohup`: the program should then outlive the terminal.
    """

    def ask(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    if hasattr(signal, "SIGBREAK"):  # Ctrl-Break, and a console window that closes
        signal.signal(signal.SIGBREAK, ask)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, ask)


def report_request(
    context: click.Context, asked: "RequestReceipt", as_json: bool, when: str = "at its next tick"
) -> None:
    """Report the stored request, when it is acted on, and whether a daemon is running to do so."""
    from orchestrator.views import json_output
    from orchestrator.views.document import daemon_document
    from orchestrator.views.request_text import receipt_line

    app = app_of(context)
    daemon = daemon_document(app.store.lease(), app.clock.now())
    unattended = daemon is None or not daemon["runs"]
    if as_json:
        told = json_output.request_document(
            asked.run, asked.verb, asked.arguments, asked.number, daemon_runs=not unattended
        )
        json_output.print_json(told)
        return
    click.echo(receipt_line(asked.run, asked.verb, when, attended=not unattended))
