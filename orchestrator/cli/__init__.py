"""The command line. Each command is a few lines: read the flags, ask the app, show a view."""

import os
from pathlib import Path
from typing import Any

import click

from orchestrator.app.settings import Settings, home_folder
from orchestrator.base.errors import BadInput, RelayError
from orchestrator.base.terminal import outward
from orchestrator.cli import daemons, environment, first, home, pages, reference, requests, rescue, runs, trials
from state.failures import StoreCorrupt, StoreUnavailable


class Guarded(click.Group):
    """Turns an error that relay raised on purpose into one sentence: exit status 2 for input, 1 for the rest."""

    def main(self, *args: Any, **options: Any) -> Any:
        with outward():
            return super().main(*args, **options)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (RelayError, StoreUnavailable, StoreCorrupt) as error:
            if context.params.get("debug"):
                raise
            click.echo(f"relay: {error}", err=True)
            context.exit(2 if isinstance(error, BadInput) else 1)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """A section a theme instead of one list from A to Z."""
        for title, commands in THEMES.items():
            with formatter.section(title):
                formatter.write_dl([(command.name or "", line) for command, line in commands.items()], col_max=14)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


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


THEMES: dict[str, dict[click.Command, str]] = {
    "Before a run": {
        first.init: "Write a commented pipeline; asks what matters.",
        first.check: "Look at everything that could stop a run.",
        trials.show_plan: "What a pipeline will do, and when it is done.",
        trials.rehearse: "Run it against a Kaggle on this machine.",
        environment.environment: "A dataset of what sessions install.",
    },
    "Carry it out": {
        runs.start: "Create a run; the daemon carries it out.",
        daemons.daemon: "Carry all runs out until told to stop.",
        daemons.up: "Both, for one pipeline, until it needs nobody.",
        home.service: "Have the system start the daemon.",
        home.notify: "Whom the daemon tells that a run needs somebody.",
    },
    "Look": {
        runs.status: "Where every run stands, and what to do.",
        runs.logs: "A session's log; -f follows it.",
        pages.report: "All about a run in one HTML file.",
        pages.dashboard: "All runs as live pages on this machine.",
        runs.artifacts: "The texts that a run's stages wrote.",
        runs.checkpoints: "Where each is; verify them, bring them back.",
    },
    "Ask for something": {
        requests.pause: "Let the session end, and start no other.",
        requests.resume: "Go on with a parked or waiting run.",
        requests.retry: "Try again after a cause was mended.",
        requests.cancel: "End a run.",
    },
    "When something is lost": {
        rescue.doctor: "Look at the database, this machine and Kaggle.",
        rescue.backup: "Copy the database; the daemon does so too.",
        rescue.restore: "Put a backup of the database in its place.",
        runs.adopt: "Make a lost run again from what is on Kaggle.",
    },
    "Know more": {
        reference.show_explanation: "What a stage, a key or an option means.",
        reference.show_schema: "The pipeline file's JSON Schema, for editors.",
        reference.show_completion: "A script with which a shell completes.",
        trials.verify_resume: "Count the bits that cutting a run changes.",
    },
}
"""The front page: every command under its theme, in the order of use, with what it is for."""

for theme in THEMES.values():
    for command, line in theme.items():
        command.short_help = line
        main.add_command(command)
