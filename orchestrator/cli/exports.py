"""Commands that take the trained model out of relay."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.base.errors import BadInput
from orchestrator.cli import completing
from orchestrator.cli.common import RUN, app_of

if TYPE_CHECKING:
    from orchestrator.app.app import App
    from orchestrator.app.publish.command import Destination


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


@click.command()
@RUN
@click.option("--model", metavar="OWNER/NAME", help="Kaggle Model to publish to; created, privately, if need be.")
@click.option("--hub", metavar="OWNER/NAME", help="Publish to this repository at Hugging Face instead.")
@click.option("--framework", help="Framework of its variation; default: jax, transformers or other, by the format.")
@click.option("--variation", help="Name of its variation; default: by the model's size or name.")
@click.option(
    "--checkpoint",
    metavar="NAME",
    help="Checkpoint to export, by its name or STAGE:STEP; default: the newest verified one.",
    shell_complete=completing.checkpoints,
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["safetensors", "peft", "tunix"]),
    help="Format of the export; default: tunix for Gemma on Kaggle, else safetensors.",
)
@click.option(
    "--from-export",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Publish this export of the run as it is.",
)
@click.option("--public", is_flag=True, help="Make it public, after asking; default: private.")
@click.option("--yes", "-y", is_flag=True, help="Make it public without asking.")
@click.pass_context
def publish(
    context: click.Context,
    /,
    run: str,
    folder: Path | None,
    checkpoint: str | None,
    layout: str | None,
    yes: bool,
    **where: Any,
) -> None:
    """Publish the model of RUN to Kaggle Models or to Hugging Face.

    An interrupted upload continues when the same command is typed again.

    Example: relay publish gsm-3f9a --model you/gsm-reasoner
    """
    from orchestrator.app.publish.command import SourceChoice, prepare, published_before
    from orchestrator.views.upload_progress import UploadProgress

    if where["public"] and not yes:
        _require_terminal(run)  # before anything is exported
    app, report = app_of(context), UploadProgress()
    destination, usual = _destination(app, run, **where)
    source = SourceChoice(checkpoint, layout, folder)
    if lines := published_before(app, run, source, destination, usual):
        report.say("the same weights were published before: nothing is exported or sent")
        for line in lines:
            click.echo(line)
        return
    publication = prepare(app, run, source, destination, usual, report)
    if (question := publication.question()) and not yes and not _agreed(question):
        click.echo("relay: nothing was published", err=True)
        context.exit(1)
    for line in publication.publish(report):
        click.echo(line)


def _destination(
    app: "App",
    run: str,
    *,
    model: str | None,
    hub: str | None,
    framework: str | None,
    variation: str | None,
    public: bool,
) -> "tuple[Destination, str]":
    """Return where to publish, and the usual format there."""
    state = app.run(run)
    if (model is None) == (hub is None):
        raise BadInput("name one place to publish to: --model OWNER/NAME for a Kaggle Model, or --hub OWNER/NAME")
    if model is not None:
        from orchestrator.app.publish.kaggle_destination import KaggleChoice, KaggleDestination, usual_layout
        from orchestrator.pipeline.model import Pipeline

        usual = usual_layout(Pipeline.from_canonical(state.run.pipeline))
        return KaggleDestination(app, state, KaggleChoice(model, framework, variation, public)), usual
    if framework or variation:
        raise BadInput("--framework and --variation are for a Kaggle Model: leave them out with --hub")
    from orchestrator.app.publish.hub_destination import HubDestination

    return HubDestination(str(hub), public=public), "safetensors"


def _require_terminal(run: str) -> None:
    """Raise BadInput if nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput(
            f"relay publish {run} --public asks first, and there is no terminal to ask on: add --yes to publish without a "
            "question"
        )


def _agreed(question: list[str]) -> bool:
    """Ask on the terminal whether to publish."""
    for line in question:
        click.echo(line)
    return click.confirm("Make it public?")
