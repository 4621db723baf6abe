"""The command line. Each command is a few lines: read the flags, ask the app, show a view."""

import os
from pathlib import Path
from typing import Any

import click

from orchestrator.cli import daemons, first, home, pages, reference, requests, runs, trials
from orchestrator.errors import BadInput, RelayError
from orchestrator.settings import Settings, home_folder
from state.failures import StoreCorrupt, StoreUnavailable


class Guarded(click.Group):
    """Turns an error that relay raised on purpose into one sentence: exit status 2 for input, 1 for the rest."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (RelayError, StoreUnavailable, StoreCorrupt) as error:
            if context.params.get("debug"):
                raise
            click.echo(f"relay: {error}", err=True)
            context.exit(2 if isinstance(error, BadInput) else 1)


@click.group(cls=Guarded)
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="Folder for relay's state [RELAY_HOME].")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="relay-kaggle", prog_name="relay")
@click.pass_context
def main(context: click.Context, home: Path | None, debug: bool) -> None:
    """Train on Kaggle in as many sessions as it takes.

    Try it without an account: relay rehearse
    """
    os.umask(0o077)  # whatever relay writes is its owner's alone
    context.obj = Settings(home_folder(home, os.environ), dict(os.environ), debug)


for command in (
    *(first.init, first.check),
    *(runs.start, daemons.daemon, daemons.up, runs.status, runs.logs, runs.papers, runs.checkpoints, runs.adopt),
    *(pages.report, pages.dashboard),
    *(requests.pause, requests.resume, requests.retry, requests.cancel),
    *(reference.show_schema, reference.show_explanation, reference.show_completion),
    *(trials.rehearse, trials.show_plan, trials.verify_resume),
    *(home.service, home.notify),
):
    main.add_command(command)
