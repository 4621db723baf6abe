"""Commands that try a pipeline on this machine, without Kaggle."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.app.settings import Settings
from orchestrator.base.errors import BadInput
from orchestrator.cli import completing
from orchestrator.cli.common import JSON, PIPELINE, PIPELINE_OR_NONE, app_of, stop_on_signals

if TYPE_CHECKING:
    from orchestrator.pipeline.model import Pipeline


@click.command()
@PIPELINE_OR_NONE
@click.option(
    "--serve",
    is_flag=True,
    help="Only run the local Kaggle, with stand-ins for what PIPELINE mounts, and print how to reach it.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the local Kaggle; default: a free one.")
@click.option(
    "--faults",
    type=click.Path(path_type=Path),
    help="Fault plan; default: PIPELINE's own.",
    shell_complete=completing.pipelines,
)
@click.option("--calm", is_flag=True, help="Inject no faults.")
@click.option(
    "--differs",
    metavar="KEY",
    multiple=True,
    help="Let the local Kaggle differ from this assumption (docs/kaggle.md); repeatable.",
    shell_complete=completing.differences,
)
@click.option("--short", is_flag=True, help="One step of each stage and short completions: does everything start?")
@click.option(
    "--simulate", type=click.IntRange(min=1), help="Run this many simulated chains with faults and crashes instead."
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the first simulated chain [default: 1].")
@JSON
@click.pass_context
def rehearse(
    context: click.Context,
    /,
    pipeline: Path | None,
    simulate: int | None,
    seed: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Run PIPELINE against a local Kaggle on this machine, with real processes and no account.

    Models on Kaggle and data sets are replaced by tiny ones of the same format; rehearse a large pipeline with --short.
    With --simulate, training is replaced by counting and time is virtual: thousands of chains meet every kind of fault.
    To print a failing chain tick by tick, use --simulate 1 --seed N.

    Example: relay rehearse examples/gemma2_2b.yaml --short
    """
    if simulate is not None:
        _refuse_beside_simulate(flags)
        from orchestrator.rehearsal.simulation import command

        context.exit(command.simulate(pipeline, simulate, 1 if seed is None else seed, as_json))
    if seed is not None:
        raise BadInput("--seed is for simulated chains: add --simulate N, or leave it out")
    _rehearse(context, pipeline, as_json=as_json, **flags)


def _rehearse(
    context: click.Context,
    pipeline: Path | None,
    serve: bool,
    port: int,
    faults: Path | None,
    calm: bool,
    differs: tuple[str, ...],
    **how: bool,
) -> None:
    import orchestrator.app.rehearse as rehearsal
    from orchestrator.base.clock import Stop

    settings: Settings = context.obj
    chosen = context.parent is not None and context.parent.params.get("home") is not None
    home = settings.home if chosen or settings.environ.get("RELAY_HOME") else Path(".relay/rehearsal")
    stop = Stop()
    stop_on_signals(stop)
    if serve:
        rehearsal.serve(pipeline, home, port, faults, stop, differs=differs, as_json=how["as_json"])
    else:
        plan = rehearsal.differing_too(rehearsal.faults_for(pipeline, faults, calm), differs)
        context.exit(rehearsal.rehearse(pipeline, home, port, plan, stop, **how))


def _refuse_beside_simulate(flags: dict[str, Any]) -> None:
    """Raise BadInput for flags that do not apply to simulated chains: their faults are drawn from the seed."""
    given = [name for name, value in flags.items() if value]
    if given:
        raise BadInput(f"--simulate and --{given[0]} do not go together: leave one of them out")


@click.command("plan")
@PIPELINE
@click.option(
    "--memory", is_flag=True, help="Lower the full-size model for the mesh and report what fits; needs JAX here."
)
@click.option("--start", metavar="WHEN", help="Forecast for a start at this time, such as 2027-01-09T08:00 (UTC).")
@click.option("--quota-left", metavar="HOURS", type=click.FloatRange(min=0), help="Hours of quota left at the start.")
@JSON
@click.pass_context
def show_plan(
    context: click.Context, pipeline: Path, memory: bool, start: str | None, quota_left: float | None, as_json: bool
) -> None:
    """Show what PIPELINE will do and when it will be done: sessions, hours and weeks of quota, end date.

    The forecast uses times measured in this home folder, else those that the pipeline expects, and lists its
    assumptions. With --memory, show whether the pipeline fits its accelerator; exit status 1 if not. Needs no network.

    Example: relay plan examples/gemma2_2b.yaml --memory
    """
    from orchestrator.pipeline import loader
    from orchestrator.pipeline.summary import outline
    from orchestrator.views.memory_plan import memory_view
    from orchestrator.views.plan import outline_view
    from orchestrator.views.printing import print_view

    read = loader.load(pipeline)
    if memory:
        document = _memory(context, read, pipeline)
    else:
        document = outline(read) | _forecast(context, read, start, quota_left)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        print_view(memory_view(document) if memory else outline_view(document))
    context.exit(0 if document.get("fits", True) else 1)


def _memory(context: click.Context, read: "Pipeline", path: Path) -> dict[str, Any]:
    from orchestrator.app.measured_memory import measured_of
    from orchestrator.engine.memory_plans import keep_planned
    from orchestrator.preflight.memory.forecast import memory_document

    app = app_of(context)
    measured = measured_of(app.reader, read) if app.has_store else []
    document = memory_document(
        read, str(path), lambda line: click.echo(line, err=True), app.home.memory_plans, measured
    )
    planned = {
        name: {place: budget["planned"] for place, budget in stage["memory"].items()}
        for stage in document["stages"]
        for name in stage["names"]
    }
    keep_planned(app.home, read.digest, planned)
    return document


def _forecast(
    context: click.Context, pipeline: "Pipeline", start: str | None, quota_left_h: float | None
) -> dict[str, Any]:
    from orchestrator.engine.evidence_files import EvidenceFiles
    from orchestrator.views.forecast import plan_part

    app = app_of(context)
    store = app.reader if app.has_store else None
    left_s = None if quota_left_h is None else quota_left_h * 3600
    evidence = EvidenceFiles.of(app.home.path, app.settings.environ).for_forecast()
    return plan_part(store, pipeline, app.clock.now(), _time(start), left_s, evidence)


def _time(text: str | None) -> datetime | None:
    """Parse an ISO 8601 time; UTC if it has no time zone. Raises BadInput."""
    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"--start {text}: this is not a time: write 2027-01-09 or 2027-01-09T08:00") from error
    if not 2000 <= read.year < 2100:
        raise BadInput(f"--start {text}: this is not a time of this century: write 2027-01-09 or 2027-01-09T08:00")
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


@click.command("verify-resume")
@PIPELINE_OR_NONE
@click.option("--cuts", type=click.IntRange(min=0), help="Number of random cuts [default: 20, or none with --at].")
@click.option(
    "--at", multiple=True, metavar="STAGE:STEP[:HOW]", help="Cut here; HOW: yield, kill, before-save, after-save."
)
@click.option("--seed", type=int, default=0, help="Seed of the random cuts.")
@click.option("--steps", type=click.IntRange(min=1), help="Maximum number of steps per stage.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep everything that the sessions wrote in this empty folder."
)
@JSON
@click.pass_context
def verify_resume(
    context: click.Context, /, pipeline: Path | None, at: tuple[str, ...], cuts: int | None, **flags: Any
) -> None:
    """Run PIPELINE here uncut and cut into sessions, and count the bits that differ; exit status 0 if none does.

    Example: relay verify-resume examples/counting.yaml --cuts 5
    """
    from orchestrator.rehearsal.verify import command

    context.exit(command.verify_resume(pipeline, at, cuts, **flags))
