"""Commands that store requests for the daemon, which acts on them at its next tick."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.base.errors import BadInput
from orchestrator.cli import completing
from orchestrator.cli.common import ABANDON_SESSION, JSON, RUN, app_of, report_request
from orchestrator.cli.editing import CHANGED_FILE, YES, ask_and_store

if TYPE_CHECKING:
    from datetime import datetime

    from state.model.run_state import RunState


@click.command()
@RUN
@JSON
@click.pass_context
def pause(context: click.Context, run: str, as_json: bool) -> None:
    """Let the current session finish and start no other.

    Example: relay pause gsm-3f9a
    """
    from orchestrator.app import requests

    report_request(context, requests.pause(app_of(context), run), as_json)


@click.command()
@RUN
@click.option(
    "--from-step", help="Resume from an older checkpoint: STEP, or STAGE:STEP.", shell_complete=completing.steps
)
@ABANDON_SESSION
@click.option(
    "--take-over", is_flag=True, help="Take the run over from another home folder, which then stops working on it."
)
@JSON
@click.pass_context
def resume(
    context: click.Context, run: str, from_step: str | None, abandon_session: bool, take_over: bool, as_json: bool
) -> None:
    """Resume a parked, waiting or cancelled run from its newest verified checkpoint.

    Example: relay resume gsm-3f9a --from-step grpo:400
    """
    from orchestrator.app import requests

    report_request(
        context,
        requests.resume(app_of(context), run, from_step, abandon_session=abandon_session, take_over=take_over),
        as_json,
    )


@click.command()
@RUN
@CHANGED_FILE
@click.option(
    "--from-step",
    help="With --pipeline: go on from an older checkpoint, STEP or STAGE:STEP.",
    shell_complete=completing.steps,
)
@ABANDON_SESSION
@YES
@JSON
@click.pass_context
def retry(
    context: click.Context,
    run: str,
    pipeline: Path | None,
    from_step: str | None,
    abandon_session: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Retry a parked run once the cause is fixed, if need be with a changed pipeline.

    Example: relay retry gsm-3f9a --pipeline gsm.yaml
    """
    from orchestrator.app import pipeline_edits, requests

    app = app_of(context)
    if pipeline is not None:
        edited = pipeline_edits.read_file(pipeline, app, run)
        planned = pipeline_edits.planned_retry(app, run, edited, from_step, abandon_session=abandon_session)
        ask_and_store(context, planned, yes=yes, as_json=as_json)
        return
    if from_step is not None:
        raise BadInput(
            f"--from-step needs --pipeline here: relay resume {run} --from-step {from_step} resumes with the same pipeline"
        )
    report_request(context, requests.retry(app, run, abandon_session=abandon_session), as_json)


@click.command()
@RUN
@click.option("--yes", "-y", is_flag=True, help="Cancel without asking.")
@JSON
@click.pass_context
def cancel(context: click.Context, run: str, yes: bool, as_json: bool) -> None:
    """Cancel a run, after asking.

    A session on Kaggle continues until it ends: Kaggle offers no way to stop it from outside. A job of a cluster is
    cancelled. relay resume undoes the cancellation as long as the run's checkpoints exist.

    Example: relay cancel gsm-3f9a
    """
    from orchestrator.app import requests

    app = app_of(context)
    state = requests.cancellable(app, run)
    if not yes and not _confirmed(state, app.clock.now(), as_json):
        click.echo("relay: nothing was changed", err=True)
        context.exit(1)
    report_request(context, requests.cancel(app, run), as_json)


def _confirmed(state: "RunState", now: "datetime", as_json: bool) -> bool:
    """Ask on the terminal whether to cancel the run. Raises BadInput if nobody can be asked."""
    from orchestrator.views.cancel_question import cancel_lines

    command = f"relay cancel {state.run.id}"
    if as_json:
        raise BadInput(f"{command} --json cannot ask: add --yes to cancel without asking")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput(f"{command} asks first, and there is no terminal to ask on: add --yes to cancel without asking")
    for line in cancel_lines(state, now):
        click.echo(line)
    return click.confirm(f"Cancel {state.run.id}?")
