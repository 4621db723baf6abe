"""The command that writes about a run."""

from pathlib import Path

import click

from orchestrator.base.errors import BadInput
from orchestrator.cli.common import RUN_OR_NONE, workspace_of


@click.command()
@RUN_OR_NONE
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder to create; default: RUN-writeup in the current folder.",
)
@click.option(
    "--template",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Template of your own for the text, in Jinja's language.",
)
@click.option("--force", is_flag=True, help="Replace the folder of an earlier write-up.")
@click.option("--print-template", is_flag=True, help="Print relay's own template, to edit it, and write nothing.")
@click.pass_context
def writeup(
    context: click.Context,
    run: str | None,
    output: Path | None,
    template: Path | None,
    force: bool,
    print_template: bool,
) -> None:
    """Write up RUN: a text of at most 1,500 words, diagrams, curves, tables and a cover, in one folder.

    numbers.json in that folder gives the source of each number in the database.

    Example: relay writeup gsm-3f9a -o gsm-writeup
    """
    if print_template:
        from orchestrator.views.writeup.files import default_template

        click.echo(default_template(), nl=False)
        return
    if run is None:
        raise BadInput("relay writeup takes a run: relay status lists them")
    from orchestrator.app.writeup import WriteupChoice, write_up

    click.echo(write_up(workspace_of(context), run, WriteupChoice(output, template, force)))
