"""Commands that take the trained model out of relay."""

from pathlib import Path

import click

from orchestrator.cli import completing
from orchestrator.cli.common import RUN, app_of


@click.command()
@RUN
@click.option(
    "--checkpoint",
    metavar="NAME",
    help="Checkpoint to export, by its name or STAGE:STEP; default: the newest verified one.",
    shell_complete=completing.checkpoints,
)
@click.option("--to", type=click.Path(path_type=Path), help="Folder to create; default: RUN-FORMAT here.")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["safetensors", "peft", "tunix"]),
    default="safetensors",
    show_default=True,
    help="safetensors: a Hugging Face folder; peft: the adapter alone; tunix: what Tunix's loaders read.",
)
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float32"]),
    help="Type of the numbers; default: the pipeline's, float32 for peft.",
)
@click.option(
    "--base",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the base model's files; default: as the pipeline says, downloaded if need be.",
)
@click.pass_context
def export(
    context: click.Context,
    run: str,
    checkpoint: str | None,
    to: Path | None,
    layout: str,
    dtype: str | None,
    base: Path | None,
) -> None:
    """Export the model of RUN, from any verified checkpoint.

    Example: relay export gsm-3f9a --to gsm-model
    """
    from orchestrator.app.export import ExportChoice, export

    click.echo(export(app_of(context), run, ExportChoice(checkpoint, to, layout, dtype, base)))
