"""The command line. Each command parses its flags, calls the application layer and prints a view."""

import os
from pathlib import Path
from typing import Any

import click

from orchestrator.app.settings import Settings, home_folder
from orchestrator.base.errors import BadInput, RelayError
from orchestrator.base.terminal import escape_output
from orchestrator.cli import (
    asking,
    comparing,
    daemons,
    editing,
    environment,
    exports,
    first,
    forking,
    home,
    measurements,
    notebooks,
    pages,
    probing,
    reference,
    requests,
    rescue,
    runs,
    status,
    trials,
    writing,
)
from state.failures import StoreCorrupt, StoreUnavailable


class Guarded(click.Group):
    """Click group that reports relay's own errors as one sentence. Exit status: 2 for bad input, 1 for other errors."""

    def main(self, *args: Any, **options: Any) -> Any:
        with escape_output():
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
        """List the commands by theme instead of alphabetically."""
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
    """Train on Kaggle in a chain of sessions.

    Try it without an account: relay rehearse
    """
    os.umask(0o077)  # everything that relay writes is private to its owner
    # pydantic would read the metadata of every installed package in search of plugins, a tenth of a short command
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    context.obj = Settings(home_folder(home, os.environ), dict(os.environ), debug)


THEMES: dict[str, dict[click.Command, str]] = {
    "Before a run": {
        first.init: "Write a commented pipeline file, asking a few questions.",
        first.check: "Check everything that could stop a run.",
        probing.probe: "See whether Kaggle behaves as relay assumes.",
        trials.show_plan: "Show what a pipeline will do, and when it ends.",
        trials.rehearse: "Run it against a local Kaggle on this machine.",
        environment.environment: "Lock or publish the packages that sessions install.",
    },
    "Run it": {
        runs.start: "Create a run; the daemon executes it.",
        forking.fork: "Write a pipeline that continues a run differently.",
        forking.sweep: "Start runs that differ in some options.",
        daemons.daemon: "Execute all runs until told to stop.",
        daemons.up: "Start and run one pipeline until it finishes or is parked.",
        home.service: "Run the daemon as a system service.",
        home.notify: "Show or test the daemon's notifications.",
    },
    "Look": {
        status.status: "Show every run's status, and what to do.",
        runs.logs: "Show a session's log; -f follows it.",
        pages.report: "Write a run's report as one HTML file.",
        measurements.metrics: "Export a run's metrics: all sessions as one series.",
        measurements.tensorboard: "Show a run's metrics in TensorBoard.",
        comparing.compare: "Compare runs: pipelines, accuracy, hours, curves.",
        pages.dashboard: "Serve live pages of all runs on this machine.",
        runs.artifacts: "List the text files that a run's stages wrote.",
        runs.checkpoints: "List, verify, pull or prune a run's checkpoints.",
    },
    "Take the model out": {
        exports.export: "Write the model for transformers, PEFT or Tunix.",
        exports.publish: "Publish the model on Kaggle or Hugging Face.",
        asking.ask: "Ask the model, here or in a session.",
        writing.writeup: "Write up a run: text, diagram, curves, tables, cover.",
        notebooks.notebook: "Write a pipeline as a notebook for Kaggle.",
    },
    "Ask for something": {
        requests.pause: "Let the current session finish and start no other.",
        requests.resume: "Resume a parked, waiting or cancelled run.",
        requests.retry: "Retry a parked run after its cause was fixed.",
        editing.edit: "Change the pipeline of a run that has begun.",
        requests.cancel: "Cancel a run.",
    },
    "Repair": {
        rescue.doctor: "Check the database, this machine and the platforms.",
        rescue.backup: "Back up the database; the daemon does so too.",
        rescue.restore: "Replace the database by a backup.",
        runs.adopt: "Rebuild a lost run from what its platform has.",
    },
    "Know more": {
        reference.show_explanation: "Explain a stage, a key or an option.",
        reference.show_schema: "Print the pipeline file's JSON Schema, for editors.",
        reference.show_completion: "Print a completion script for a shell.",
        trials.verify_resume: "Verify that cutting a run changes no bit.",
    },
}
"""Content of `relay --help`: every command with its summary, by theme and in the order of use."""

for theme in THEMES.values():
    for command, line in theme.items():
        command.short_help = line
        main.add_command(command)
