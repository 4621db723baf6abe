"""Commands that take a run's metrics to where people look at metrics."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.base.errors import BadInput
from orchestrator.cli.common import RUN, workspace_of

if TYPE_CHECKING:  # imported on use: `relay --help` must not wait for pydantic or rich
    from orchestrator.app.workspace import Workspace
    from orchestrator.core.joined_metrics import JoinedMetrics


@click.command()
@RUN
@click.option(
    "--format",
    "layout",
    type=click.Choice(["csv", "parquet", "jsonl"]),
    help="Format; default: that of the file's suffix, else csv.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@click.option(
    "--to",
    "tracker",
    type=click.Choice(["wandb", "trackio"]),
    help="Send the verified steps that are new to Weights & Biases or trackio instead, as one run.",
)
@click.option("--project", help="With --to: the project there [default: WANDB_PROJECT, else relay].")
@click.pass_context
def metrics(
    context: click.Context,
    run: str,
    layout: str | None,
    output: Path | None,
    tracker: str | None,
    project: str | None,
) -> None:
    """Export the metrics of RUN: all sessions as one series, each step once.

    If several sessions did the same step, the last one that a verified checkpoint contains counts. --to sends each step
    once, however often you repeat the command.

    Example: relay metrics gsm-3f9a -o gsm.parquet
    """
    from orchestrator.app.metrics.files import chosen_format, encoded, joined_metrics, summary, write_metrics

    app = workspace_of(context)
    if tracker and (layout or output):
        raise BadInput("--to sends the metrics and writes no file: leave out --format and --output")
    if project is not None and not tracker:
        raise BadInput("--project names a project of Weights & Biases or trackio: add --to wandb or --to trackio")
    layout = chosen_format(layout, output)
    if tracker:
        from orchestrator.app.metrics.trackers import require_tracker

        require_tracker(tracker)
    name, found = joined_metrics(app, run)
    if tracker:
        click.echo(_sent(app, name, found, tracker, project))
        return
    data = encoded(found, layout)
    if output is None:
        click.echo(data.decode(), nl=False)
    else:
        write_metrics(output, data)
    click.echo(f"relay: {summary(name, found)}", err=True)


def _sent(app: "Workspace", run: str, found: "JoinedMetrics", tracker: str, project: str | None) -> str:
    """Send what is new, and return a sentence about it."""
    from orchestrator.app.metrics.trackers import SentSteps, default_project, opened, send, unsent

    project = project or default_project()
    place, sent = f"{tracker}:{project}", SentSteps(app.home.run(run) / "sent-metrics.json")
    new = unsent(found.steps, sent.last(place))
    waiting = sum(not step.verified for step in found.steps)
    later = f"; {waiting:,} more follow once a verified checkpoint contains them" if waiting else ""
    if not new:
        return f"{run}: {tracker} project {project} has every verified step, up to {sent.last(place):,}{later}"
    state = app.run(run).run
    config = {"accelerator": state.accelerator, "pipeline_digest": state.pipeline_digest, "name": state.name}
    to = opened(tracker, project, run, config, app.home.run(run) / "wandb")
    count = send(new, to, sent, place)
    return f"{run}: {count:,} steps sent to {tracker} project {project}{later}"


@click.command()
@RUN
@click.option("--no-start", is_flag=True, help="Only write the event files, and print their folder.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of TensorBoard; default: its own.")
@click.pass_context
def tensorboard(context: click.Context, run: str, no_start: bool, port: int | None) -> None:
    """Write the metrics of RUN, all sessions joined, as event files, and start TensorBoard on them.

    Repeat the command to add new steps.

    Example: relay tensorboard gsm-3f9a
    """
    from orchestrator.app.metrics.files import joined_metrics, summary
    from orchestrator.app.metrics.tensorboard import require_packages, serve, update_event_files

    require_packages(start=not no_start)
    app = workspace_of(context)
    name, found = joined_metrics(app, run)
    folder = app.home.run(name) / "joined-tensorboard"
    count = update_event_files(folder, found.steps)
    click.echo(f"relay: {summary(name, found)}", err=True)
    click.echo(f"{folder} is up to date: {count:,} steps were written")
    if not no_start:
        context.exit(serve(folder, port))
