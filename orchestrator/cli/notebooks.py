"""Command that writes a pipeline as a notebook."""

from pathlib import Path

import click

from orchestrator.cli.common import PIPELINE


@click.command()
@PIPELINE
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("tunix_zero_cost_train.ipynb"),
    show_default=True,
    help="File to write.",
)
@click.option("--model", metavar="OWNER/NAME", default="", help="Kaggle Model with the weights of all sessions.")
@click.option("--title", default="", help="Title of the notebook.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
def notebook(pipeline: Path, output: Path, model: str, title: str, force: bool) -> None:
    """Write PIPELINE as a notebook that anybody can run on Kaggle without relay.

    The notebook contains the code of the pipeline's stages, stops before Kaggle's limit, and resumes from its own output.

    Example: relay notebook examples/gemma2_2b.yaml -o train.ipynb --model me/gemma2-reasons
    """
    from orchestrator.app.notebook import NotebookChoice, write_notebook

    click.echo(write_notebook(pipeline, NotebookChoice(output, model, title, force)))
