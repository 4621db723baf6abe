"""Commands that ask the daemon for something; the next turn obeys."""

import click

from orchestrator.cli import completing
from orchestrator.cli.common import RUN, WRITE_OFF, app_of


@click.command()
@RUN
@click.pass_context
def pause(context: click.Context, run: str) -> None:
    """Let the session that runs come to its end, and start no other.

    Example: relay pause gsm-3f9a
    """
    from orchestrator import asking

    _noted(asking.pause(app_of(context), run), "pause")


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
    from orchestrator import asking

    _noted(asking.resume(app_of(context), run, from_step, write_off=write_off), "resume")


@click.command()
@RUN
@WRITE_OFF
@click.pass_context
def retry(context: click.Context, run: str, write_off: bool) -> None:
    """Try a parked run again after its cause was mended.

    Example: relay retry gsm-3f9a
    """
    from orchestrator import asking

    _noted(asking.retry(app_of(context), run, write_off=write_off), "retry")


@click.command()
@RUN
@click.pass_context
def cancel(context: click.Context, run: str) -> None:
    """End a run. Its session on Kaggle, if any, goes on until it ends: Kaggle offers no way to stop it from outside.

    Example: relay cancel gsm-3f9a
    """
    from orchestrator import asking

    _noted(asking.cancel(app_of(context), run), "cancel")


def _noted(run: str, verb: str) -> None:
    click.echo(f"{run}: {verb} noted; the daemon obeys at its next turn")
