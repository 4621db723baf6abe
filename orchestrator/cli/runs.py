"""Commands that create, show and recover runs."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.base.errors import BadInput
from orchestrator.cli import completing
from orchestrator.cli.common import JSON, PIPELINE, RUN, RUN_OR_NONE, app_of, workspace_of
from orchestrator.cli.moving import MOVE, asks_before_moving

if TYPE_CHECKING:  # imported on use: `relay --help` must not wait for pydantic or rich
    from orchestrator.views.logs import Piece


@click.command()
@PIPELINE
@click.option("--new", is_flag=True, help="Create another run beside an open one of the same pipeline.")
@click.option(
    "--from",
    "origin",
    metavar="RUN[:CHECKPOINT]",
    help="Begin with the weights and the optimizer's state of a checkpoint of RUN: its name or STAGE:STEP; default: the "
    "newest. OWNER/SLUG names a checkpoint's dataset; the id of a model that relay publish printed begins with "
    "the weights of that export.",
)
@click.option("--weights-only", is_flag=True, help="With --from: begin with the weights alone.")
@MOVE
@JSON
@click.pass_context
def start(
    context: click.Context, pipeline: Path, new: bool, origin: str | None, weights_only: bool, yes: bool, as_json: bool
) -> None:
    """Create a run of PIPELINE; the daemon executes it.

    Example: relay start examples/tiny.yaml
    """
    app = app_of(context)
    if weights_only and origin is None:
        raise BadInput(
            "--weights-only says what to take of the checkpoint that --from names: add --from, or leave it out"
        )
    app.before_moving = asks_before_moving(str(pipeline), yes=yes, as_json=as_json)
    run = app.start(pipeline, new=new, origin=origin or "", weights_only=weights_only)
    if as_json:
        from orchestrator.views import json_output

        json_output.print_json(json_output.started_document(run))
    else:
        click.echo(f"{run.id} is ready; relay daemon executes it")


@click.command()
@RUN
@click.option(
    "--session",
    type=int,
    help="Number of the only session to show; default: the newest.",
    shell_complete=completing.sessions,
)
@click.option("--follow", "-f", is_flag=True, help="Follow this log, and those of later sessions, until RUN is over.")
@click.option("--grep", metavar="PATTERN", help="Show only lines that match this regular expression.")
@click.option("--since", metavar="AGE", help="Show only lines since then, such as 30min, 12h or 2027-01-09T08:00.")
@click.option(
    "--level", type=click.Choice(["info", "warning", "error"]), help="Show only lines of this level and above."
)
@click.option("--raw", is_flag=True, help="Print every line unchanged, with relay's own events.")
@JSON
@click.pass_context
def logs(
    context: click.Context,
    /,
    run: str,
    session: int | None,
    follow: bool,
    raw: bool,
    as_json: bool,
    **given: str | None,
) -> None:
    """Show the log of RUN's newest session as stored by the daemon; with -f, directly from its platform.

    Lines that only account for time are left out, except with --raw and --json. With --json, each line is an object.

    Example: relay logs gsm-3f9a --session 2 --grep loss
    """
    from orchestrator.views.log_filter import chosen, log_choice
    from orchestrator.views.logs import LogFollower, stored_log

    app = workspace_of(context)
    choice = log_choice(given["grep"], given["since"], given["level"], app.clock.now(), bookkeeping=raw or as_json)
    state = app.run(run)
    found = [s for s in state.sessions if session in (None, s.number)]
    if (session is not None and not found) or not (found or follow):
        known = ", ".join(map(str, sorted({s.number for s in state.sessions}))) or "none yet"
        raise BadInput(f"{state.run.id} has no session {session or ''}: its sessions are {known}".replace("  ", " "))
    if not follow:
        show_log(chosen(stored_log(app.home, found[-1]), choice), raw, as_json)
        return
    following = LogFollower(app.reader, lambda: app_of(context).platform_of(state.run.id), app.home, app.clock)
    since = found[-1].key if found else (0, 0)
    pieces = following.run(state.run.id, since) if session is None else following.session(found[-1])
    with contextlib.suppress(KeyboardInterrupt):
        show_log(chosen(pieces, choice), raw, as_json)


def show_log(pieces: "Iterable[Piece]", raw: bool, as_json: bool) -> None:
    """Print log lines as they arrive. Notices go to standard error."""
    from orchestrator.views.logs import Notice, SessionHeading, event_text, heading_text, line_document

    for piece in pieces:
        match piece:
            case Notice(sentence):
                click.echo(f"relay: {sentence}", err=True)
            case SessionHeading(session):
                if not as_json:
                    click.echo(heading_text(session))
            case line if as_json:
                click.echo(json.dumps(line_document(line)))
            case line:
                if text := line.text if raw else event_text(line.text):
                    click.echo(text)


@click.command()
@RUN
@JSON
@click.pass_context
def artifacts(context: click.Context, run: str, as_json: bool) -> None:
    """List the text files that RUN's stages wrote, such as transcripts of evaluations and the hard problems.

    Example: relay artifacts gsm-3f9a
    """
    app = workspace_of(context)
    name = app.run(run).run.id
    found = sorted(path for path in app.home.artifacts(name).glob("*") if path.suffix != ".part")
    if as_json:
        from orchestrator.views import json_output

        json_output.print_json(json_output.artifacts_document(name, found))
        return
    for path in found:
        click.echo(f"{path.stat().st_size:>10,} bytes  {path}")
    if not found:
        click.echo("none yet: they are downloaded with a session's checkpoint")


@click.command()
@RUN
@click.option(
    "--verify", is_flag=True, help="Verify every local byte and the chain of parents, compare with the platform."
)
@click.option(
    "--pull",
    is_flag=False,
    flag_value="all",
    metavar="[NAME]",
    help="Repair damaged local copies from the platform.",
    shell_complete=completing.checkpoints,
)
@click.option("--prune", is_flag=True, help="Have the daemon remove all but the newest from the platform.")
@JSON
@click.pass_context
def checkpoints(context: click.Context, run: str, verify: bool, pull: str | None, prune: bool, as_json: bool) -> None:
    """List the checkpoints of RUN and their locations; exit status 1 if one is damaged.

    Example: relay checkpoints gsm-3f9a --verify
    """
    from orchestrator.app import checkpoints

    done = checkpoints.checkpoints(app_of(context), run, verify=verify, pull=pull, prune=prune, as_json=as_json)
    context.exit(done)


@click.command()
@RUN_OR_NONE
@click.option(
    "--pipeline",
    type=click.Path(path_type=Path),
    help="The run's pipeline file: for a run that is not on Kaggle, or whose kernels do not contain it.",
    shell_complete=completing.pipelines,
)
@JSON
@click.pass_context
def adopt(context: click.Context, run: str | None, pipeline: Path | None, as_json: bool) -> None:
    """Rebuild RUN in the database from what its platform has; without RUN, list the runs there.

    The platform is Kaggle, or with --pipeline that of the file.

    Example: relay adopt gsm-3f9a
    """
    adoption = app_of(context).adoption(pipeline)
    tell = discard if as_json else click.echo
    document = adoption.list(tell) if run is None else adoption.adopt(run, pipeline, tell)
    if as_json:
        from orchestrator.views.json_output import print_json

        print_json(document)


def discard(_sentence: str) -> None:
    """Discard a sentence: with --json only the document is printed."""
