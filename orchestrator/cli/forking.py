"""Commands that begin runs from another run's history."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import counted
from orchestrator.cli import completing
from orchestrator.cli.common import JSON, PIPELINE, RUN, app_of

if TYPE_CHECKING:  # imported on use: `relay --help` must not wait for pydantic
    from orchestrator.app.app import App
    from orchestrator.app.forks import Sweep


@click.command()
@RUN
@click.option(
    "--at",
    metavar="STAGE:STEP",
    help="Checkpoint to continue from, by its place or its name; default: the newest verified one.",
    shell_complete=completing.checkpoints,
)
@click.option(
    "-o",
    "to",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Pipeline file to write; default: NAME-fork.yaml here.",
)
@click.option("--start", is_flag=True, help="Start the fork at once, without changes.")
@JSON
@click.pass_context
def fork(context: click.Context, run: str, at: str | None, to: Path | None, start: bool, as_json: bool) -> None:
    """Write RUN's pipeline as a file that continues from one of its checkpoints.

    Change the file and type relay start FILE: the new run continues from that checkpoint, and RUN is not affected.
    Nothing is copied on Kaggle. If the file names another platform, relay publishes the checkpoint there once.

    Example: relay fork gsm-3f9a --at sft:500 -o gsm-longer.yaml
    """
    from orchestrator.app.forks import write_fork

    app = app_of(context)
    written = write_fork(app, run, at, to)
    begun = app.start(written.path) if start else None
    if as_json:
        document = {"format": 1, "file": str(written.path), "from": written.run, "at": written.at}
        click.echo(json.dumps({**document, "run": begun.id if begun else None}, indent=2))
        return
    beside = f" (beside it: {', '.join(written.beside)})" if written.beside else ""
    click.echo(f"{written.path} continues {written.run} from {written.at}{beside}")
    if begun is None:
        click.echo(f"change what comes after that, then type: relay start {written.path}")
    else:
        click.echo(f"{begun.id} is ready; relay daemon executes it")


@click.command()
@PIPELINE
@click.option(
    "--set",
    "settings",
    metavar="STAGE.OPTION=A,B,…",
    multiple=True,
    required=True,
    help="Values of an option, one run for each; several --set make a run for each combination.",
)
@click.option("--yes", is_flag=True, help="Start the runs without asking.")
@JSON
@click.pass_context
def sweep(context: click.Context, pipeline: Path, settings: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Start runs of PIPELINE that differ in some options and share the stages before those.

    The first run trains the shared stages; the others fork from it. relay compare shows them side by side.

    Example: relay sweep gsm.yaml --set grpo.beta=0.01,0.04 --yes
    """
    from orchestrator.app.forks import plan_sweep, start_sweep
    from orchestrator.views.sweep import sweep_lines

    app = app_of(context)
    planned = plan_sweep(pipeline, settings)
    shared = f"{planned.shared.stage}:{planned.shared.step}" if planned.shared else ""
    if not as_json:
        for line in sweep_lines(shared, _forecasts(app, planned)):
            click.echo(line)
    if not yes and not _confirmed(as_json):
        click.echo("relay: nothing was started", err=True)
        context.exit(1)
    begun = start_sweep(app, planned)
    if as_json:
        runs = [{"run": run, "values": dict(variant.values)} for run, variant in begun]
        click.echo(json.dumps({"format": 1, "shared": shared or None, "runs": runs}, indent=2))
        return
    ids = " ".join(run for run, _ in begun)
    click.echo(
        f"{counted(len(begun), 'run is', 'runs are')} ready; relay daemon executes {'it' if len(begun) == 1 else 'them'}\nto compare them: relay compare {ids}"
    )


def _forecasts(app: "App", planned: "Sweep") -> list[dict[str, Any]]:
    """Return name, values and forecast of each run of a sweep."""
    from orchestrator.views.forecast import plan_part

    store = app.reader if app.has_store else None
    return [
        {
            "name": variant.pipeline.name,
            "values": variant.values,
            "forecast": plan_part(store, variant.pipeline, app.clock.now(), None, None)["forecast"],
        }
        for variant in planned.planned
    ]


def _confirmed(as_json: bool) -> bool:
    """Ask on the terminal whether to start the runs. Raises BadInput if nobody can be asked."""
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("relay sweep asks before it starts runs, and cannot ask here: add --yes")
    return click.confirm("Start them?")
