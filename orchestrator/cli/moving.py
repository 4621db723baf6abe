"""The question before a run begins on another platform than the checkpoint that it begins from."""

import sys
from collections.abc import Callable

import click

from orchestrator.base.errors import BadInput

MOVE = click.option("--yes", "-y", is_flag=True, help="Begin without asking from another platform's checkpoint.")


def asks_before_moving(path: str, *, yes: bool, as_json: bool) -> Callable[[tuple[str, ...]], None]:
    """Return the function that tells what becomes of the numbers, and asks unless `yes` is set; it exits if declined."""

    def ask(sentences: tuple[str, ...]) -> None:
        click.echo(
            f"{path} begins from a checkpoint of another platform, which relay publishes there once.", err=as_json
        )
        for line in sentences:
            click.echo(f"  {line}", err=as_json)
        if yes:
            return
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise BadInput(f"relay start {path} asks before it begins from another platform's checkpoint: add --yes")
        if not click.confirm("Begin it?"):
            click.echo("relay: nothing was started", err=True)
            raise click.exceptions.Exit(1)

    return ask
