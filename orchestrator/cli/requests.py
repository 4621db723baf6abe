"""Commands that ask the daemon for something; the next turn obeys."""

import click

from orchestrator.cli import completing
from orchestrator.cli.common import RUN, WRITE_OFF, app_of
from orchestrator.errors import BadInput


@click.command()
@RUN
@click.pass_context
def pause(context: click.Context, run: str) -> None:
    """Let the session that runs come to its end, and start no other.

    Example: relay pause gsm-3f9a
    """
    _ask(context, run, "pause", ("active", "waiting"))


@click.command()
@RUN
@click.option(
    "--from-step", help="Go on from an older checkpoint: STEP, or STAGE:STEP.", shell_complete=completing.steps
)
@WRITE_OFF
@click.pass_context
def resume(context: click.Context, run: str, from_step: str | None, write_off: bool) -> None:
    """Go on with a parked or waiting run, from its newest verified checkpoint.

    Example: relay resume gsm-3f9a --from-step grpo:400
    """
    from orchestrator.choose import checkpoint_at, require_over, written_off

    app = app_of(context)
    state = app.run(run)
    arguments = written_off(state) if write_off else {}
    if from_step is not None:
        arguments["checkpoint"] = checkpoint_at(state, from_step).name
        if not write_off:
            require_over(state)
    _ask(context, run, "resume", ("parked", "waiting"), arguments)


@click.command()
@RUN
@WRITE_OFF
@click.pass_context
def retry(context: click.Context, run: str, write_off: bool) -> None:
    """Try a parked run again after its cause was mended.

    Example: relay retry gsm-3f9a
    """
    from orchestrator.choose import written_off

    arguments = written_off(app_of(context).run(run)) if write_off else {}
    _ask(context, run, "retry", ("parked", "waiting"), arguments)


@click.command()
@RUN
@click.pass_context
def cancel(context: click.Context, run: str) -> None:
    """End a run. Its session on Kaggle, if any, goes on until it ends: Kaggle offers no way to stop it from outside.

    Example: relay cancel gsm-3f9a
    """
    _ask(context, run, "cancel", ("active", "waiting", "parked"))


def _ask(
    context: click.Context, name: str, verb: str, allowed: tuple[str, ...], arguments: dict[str, str] | None = None
) -> None:
    """Leave a request for the daemon; one that does not fit is refused now."""
    app = app_of(context)
    run = app.run(name).run
    if run.status.value not in allowed:
        raise BadInput(f"{run.id} is {run.status}: relay {verb} is for a run that is {' or '.join(allowed)}")
    app.store.request(run.id, verb, arguments or {}, app.clock.now())
    click.echo(f"{run.id}: {verb} noted; the daemon obeys at its next turn")
