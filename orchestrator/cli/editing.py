"""`relay edit`: changes the pipeline of a run that has begun. `relay retry --pipeline` shares its question."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.base.errors import BadInput
from orchestrator.cli import completing
from orchestrator.cli.common import JSON, RUN, app_of, report_request

if TYPE_CHECKING:
    from orchestrator.app.app import App
    from orchestrator.app.pipeline_edits import PlannedChange

CHANGED_FILE = click.option(
    "--pipeline",
    type=click.Path(path_type=Path),
    shell_complete=completing.pipelines,
    help="The changed pipeline file.",
)
YES = click.option("--yes", "-y", is_flag=True, help="Apply the change without asking.")


@click.command()
@RUN
@CHANGED_FILE
@YES
@JSON
@click.pass_context
def edit(context: click.Context, run: str, pipeline: Path | None, yes: bool, as_json: bool) -> None:
    """Change the pipeline of a run that has begun.

    Opens the pipeline in $VISUAL or $EDITOR, or takes a changed FILE. Shows what differs, and asks. A running
    session is not affected; the next one follows the changed pipeline. What finished steps depend on cannot change. If
    the file names another platform, the run continues there from its newest checkpoint once that session has ended.

    Example: relay edit gsm-3f9a --pipeline gsm.yaml
    """
    from orchestrator.app.pipeline_edits import planned_edit, read_file

    app = app_of(context)
    if pipeline is None:
        planned = _edited(app, run, as_json)
        if planned is None:
            click.echo("relay: nothing was changed", err=True)
            context.exit(1)
    else:
        planned = planned_edit(app, run, read_file(pipeline, app, run))
    ask_and_store(context, planned, yes=yes, as_json=as_json)


def ask_and_store(context: click.Context, planned: "PlannedChange", *, yes: bool, as_json: bool) -> None:
    """Show the difference, ask unless `yes` is set, and store the request."""
    from orchestrator.app.pipeline_edits import ask
    from orchestrator.views.request_text import change_lines, obeyed_when

    if not as_json:
        for line in change_lines(planned.run, planned.lines, planned.awaited, planned.numbers):
            click.echo(line)
    if not yes and not _confirmed(planned, as_json):
        click.echo("relay: nothing was changed", err=True)
        context.exit(1)
    report_request(context, ask(app_of(context), planned), as_json, obeyed_when(planned.awaited))


def _edited(app: "App", run: str, as_json: bool) -> "PlannedChange | None":
    """Let the user edit the run's pipeline until it can be taken over; None if nothing was saved."""
    from orchestrator.app.pipeline_edits import planned_edit, read_text, text_to_edit

    if as_json:
        raise BadInput(f"relay edit {run} --json cannot open an editor: name the changed file with --pipeline")
    state = app.run(run)
    text: str | None = text_to_edit(app, state)
    while (text := click.edit(text, extension=".yaml")) is not None:
        try:
            return planned_edit(app, run, read_text(text, app, state))
        except BadInput as error:
            click.echo(f"relay: {error}", err=True)
            if not _interactive() or not click.confirm("Open it again?", default=True):
                return None
    return None


def _interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _confirmed(planned: "PlannedChange", as_json: bool) -> bool:
    command = f"relay {planned.verb} {planned.run} --pipeline"
    if as_json:
        raise BadInput(f"{command} --json cannot ask: add --yes to apply the change without asking")
    if not _interactive():
        raise BadInput(f"{command} asks first, and there is no terminal to ask on: add --yes to apply the change")
    return click.confirm(f"Apply this to {planned.run}?")
