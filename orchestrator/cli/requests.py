"""Commands that ask the daemon for something; the next turn obeys."""

from typing import TYPE_CHECKING

import click

from orchestrator.cli import completing
from orchestrator.cli.common import JSON, RUN, WRITE_OFF, app_of

if TYPE_CHECKING:  # imported where they are used: `relay --help` must not wait for SQLAlchemy or rich
    from orchestrator.app import App
    from orchestrator.asking import Asked


@click.command()
@RUN
@JSON
@click.pass_context
def pause(context: click.Context, run: str, as_json: bool) -> None:
    """Let the session that runs come to its end, and start no other.

    Example: relay pause gsm-3f9a
    """
    from orchestrator import asking

    app = app_of(context)
    _tell(app, asking.pause(app, run), as_json)


@click.command()
@RUN
@click.option(
    "--from-step", help="Go on from an older checkpoint: STEP, or STAGE:STEP.", shell_complete=completing.steps
)
@WRITE_OFF
@JSON
@click.pass_context
def resume(context: click.Context, run: str, from_step: str | None, write_off: bool, as_json: bool) -> None:
    """Go on with a parked or waiting run, from its newest verified checkpoint.

    Example: relay resume gsm-3f9a --from-step grpo:400
    """
    from orchestrator import asking

    app = app_of(context)
    _tell(app, asking.resume(app, run, from_step, write_off=write_off), as_json)


@click.command()
@RUN
@WRITE_OFF
@JSON
@click.pass_context
def retry(context: click.Context, run: str, write_off: bool, as_json: bool) -> None:
    """Try a parked run again after its cause was mended.

    Example: relay retry gsm-3f9a
    """
    from orchestrator import asking

    app = app_of(context)
    _tell(app, asking.retry(app, run, write_off=write_off), as_json)


@click.command()
@RUN
@JSON
@click.pass_context
def cancel(context: click.Context, run: str, as_json: bool) -> None:
    """End a run. Its session on Kaggle, if any, goes on until it ends: Kaggle offers no way to stop it from outside.

    Example: relay cancel gsm-3f9a
    """
    from orchestrator import asking

    app = app_of(context)
    _tell(app, asking.cancel(app, run), as_json)


def _tell(app: "App", asked: "Asked", as_json: bool) -> None:
    """Say what was noted, and what to type where no daemon is there to obey."""
    from orchestrator.views import answers
    from orchestrator.views.document import daemon_document

    daemon = daemon_document(app.store.lease(), app.clock.now())
    alone = daemon is None or not daemon["runs"]
    if as_json:
        answers.print_json(answers.asked(asked.run, asked.verb, asked.arguments, asked.number, daemon_runs=not alone))
        return
    type_ = "; no daemon runs here, so type: relay daemon" if alone else ""
    click.echo(f"{asked.run}: {asked.verb} noted; the daemon obeys at its next turn{type_}")
