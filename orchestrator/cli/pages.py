"""Commands that show runs in a browser."""

import sys
from pathlib import Path

import click

from orchestrator.cli.common import JSON, RUN, app_of, stop_on_signals

PORT = 8420


@click.command()
@RUN
@click.option(
    "--output", type=click.Path(path_type=Path), help="File to write; default: RUN.html in the current folder."
)
@click.option("--open", "open_it", is_flag=True, help="Show it in the browser.")
@JSON
@click.pass_context
def report(context: click.Context, run: str, output: Path | None, open_it: bool, as_json: bool) -> None:
    """Write one HTML file about RUN: curves, evaluations, samples, time and quota, checkpoints.

    Example: relay report gsm-3f9a --open
    """
    from orchestrator.views.moment import moment_of
    from orchestrator.views.pages.render import report_page
    from orchestrator.views.pages.report import write_report
    from orchestrator.views.run_history import read_history

    app = app_of(context)
    name = app.run(run).run.id
    path = output or Path(f"{name}.html")
    with moment_of(app.reader, app.clock.now) as (reader, now):
        history = read_history(reader, app.home, name, now)
    write_report(report_page(history), path)
    if as_json:
        from orchestrator.views import json_output

        json_output.print_json(json_output.report_document(name, path))
    else:
        click.echo(f"{path} is the report of {name}, one file that needs no network")
    if open_it:
        _show(path.resolve().as_uri())


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port on this machine; default: {PORT}, or a free one where it is taken.",
)
@click.option("--open", "open_it", is_flag=True, help="Show it in the browser.")
@click.pass_context
def dashboard(context: click.Context, port: int | None, open_it: bool) -> None:
    """Serve live pages of all runs, reachable only from this machine, until Ctrl-C.

    Anybody who can open the pages can read them. Their buttons ask for the token that this command prints.

    Example: relay dashboard --open
    """
    from orchestrator.base.clock import Stop, SystemClock

    stop, clock = Stop(), SystemClock()
    stop_on_signals(stop)
    stop.tell(clock.wake)

    from orchestrator.app.dashboard import Dashboard, Served, listening, listening_if_free

    listener = (listening_if_free(PORT) or listening(0)) if port is None else listening(port)
    dashboard_ = Dashboard(app_of(context))
    with Served(dashboard_, listener) as served:
        click.echo(f"{served.url} shows all runs; Ctrl-C ends it")
        click.echo(f"its buttons ask for this token: {dashboard_.access.token}")
        sys.stdout.flush()
        if open_it:
            _show(served.url)
        while not stop.is_set():
            clock.sleep(3600.0)


def _show(address: str) -> None:
    """Open a URL in the user's browser; without a browser, print it."""
    import webbrowser  # imported on use, to keep `relay --help` fast

    if not webbrowser.open(address):
        click.echo(f"relay: no browser was found here: open {address} in one", err=True)
