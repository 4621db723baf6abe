"""Commands that run pipelines: `daemon` (all runs) and `up` (one run, until it finishes or is parked)."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.base.errors import BadInput
from orchestrator.cli.common import PIPELINE, app_of, stop_on_signals
from orchestrator.cli.status import ListOptions, show_status, watch_status

if TYPE_CHECKING:  # imported on use: `relay --help` must not wait for pydantic or rich
    from orchestrator.app.app import App
    from orchestrator.views.daemon_log import DaemonLog

DEFAULT_LOG = "-"
"""Value of `--log-file` without a name."""


def log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the daemon's log output."""
    options = (
        click.option(
            *("--log-file", "log_file"),
            is_flag=False,
            flag_value=DEFAULT_LOG,
            metavar="[FILE]",
            help="Also write every line to FILE, at most 5 MiB with older files [logs/daemon.log below --home].",
        ),
        click.option(
            "--log-format",
            type=click.Choice(["text", "json"]),
            default="text",
            help="json: one JSON object per line (docs/daemon.md).",
        ),
        click.option("-q", "--quiet", is_flag=True, help="Print warnings and errors only."),
        click.option("-v", "--verbose", is_flag=True, help="Print every poll of a session too."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option("--once", is_flag=True, help="Advance each run as far as possible without waiting, then exit.")
@click.option(
    "--launchd", is_flag=True, hidden=True, help="Exit with 0 instead of 2, so that launchd does not restart it."
)
@log_options
@click.pass_context
def daemon(context: click.Context, /, once: bool, launchd: bool, **how: Any) -> None:
    """Run the daemon: execute all runs until told to stop.

    Example: relay daemon
    """
    app = app_of(context)
    try:
        with open_daemon_log(app, **how) as journal:
            app.require_accounts()
            if once:
                app.work_once(journal)
                return
            app.begun = lambda: journal.begin(None, daemon_sentence(app))
            stop_on_signals(app.stop)
            app.work(journal)
            journal.end()
    except BadInput as error:
        if not launchd:
            raise
        click.echo(f"relay: {error}", err=True)


@click.command()
@PIPELINE
@log_options
@click.pass_context
def up(context: click.Context, /, pipeline: Path, **how: Any) -> None:
    """Start PIPELINE, or continue its open run, until it finishes or is parked.

    If a daemon is running, it executes the run, and this command follows it.

    Example: relay up examples/tiny.yaml
    """
    app = app_of(context)
    run = app.start_or_continue(pipeline)
    if daemon := app.working_daemon():
        click.echo(f"{run.id} is executed by the running daemon ({daemon}); Ctrl-C only ends this view", err=True)
        context.exit(watch_status(app, run.id, how["log_format"] == "json", ListOptions()))
    with open_daemon_log(app, **how) as journal:
        journal.begin(run.id, run.status.value)
        stop_on_signals(app.stop)
        app.work(journal, lambda: app.is_settled(run.id))
    if how["log_format"] == "text":
        show_status(app, run.id, as_json=False, shown=ListOptions())
    context.exit(0 if app.store.load(run.id).run.status.value == "finished" else 1)


def daemon_sentence(app: "App") -> str:
    """Return the first log sentence of a daemon: its process and the runs that it executes."""
    runs = app.store.open_runs()
    which = f"runs {', '.join(runs)}" if runs else "there is no open run: relay start PIPELINE creates one"
    return f"process {os.getpid()} watches {app.home.path}: {which}"


@contextlib.contextmanager
def open_daemon_log(
    app: "App", log_file: str | None, log_format: str, quiet: bool, verbose: bool
) -> Iterator["DaemonLog"]:
    """Open the log of one daemon. An error that ends the daemon becomes its last line."""
    from orchestrator.base.errors import RelayError
    from orchestrator.views.daemon_log import DaemonLog
    from state.failures import StoreCorrupt, StoreUnavailable

    least = "debug" if verbose else "warning" if quiet else "info"
    path = app.home.daemon_log if log_file == DEFAULT_LOG else log_file and Path(log_file)
    journal = DaemonLog(app.clock.now, as_json=log_format == "json", least=least, file=path or None)
    app.notice, app.sends_messages = journal.notice, True
    try:
        yield journal
    except (RelayError, StoreUnavailable, StoreCorrupt) as error:
        journal.end(str(error))
        raise
    finally:
        journal.close()
