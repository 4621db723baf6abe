"""Commands that ask the daemon for something; the next turn obeys."""

import click

from orchestrator.cli.common import JSON, RUN, WRITE_OFF, app_of
from orchestrator.errors import BadInput


@click.command()
@RUN
@JSON
@click.pass_context
def pause(context: click.Context, run: str, as_json: bool) -> None:
    """Let the session that runs come to its end, and start no other.

    Example: relay pause gsm-3f9a
    """
    _ask(context, run, "pause", ("active", "waiting"), as_json)


@click.command()
@RUN
@click.option("--from-step", help="Go on from an older checkpoint: STEP, or STAGE:STEP.")
@WRITE_OFF
@JSON
@click.pass_context
def resume(context: click.Context, run: str, from_step: str | None, write_off: bool, as_json: bool) -> None:
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
    _ask(context, run, "resume", ("parked", "waiting"), as_json, arguments)


@click.command()
@RUN
@WRITE_OFF
@JSON
@click.pass_context
def retry(context: click.Context, run: str, write_off: bool, as_json: bool) -> None:
    """Try a parked run again after its cause was mended.

    Example: relay retry gsm-3f9a
    """
    from orchestrator.choose import written_off

    arguments = written_off(app_of(context).run(run)) if write_off else {}
    _ask(context, run, "retry", ("parked", "waiting"), as_json, arguments)


@click.command()
@RUN
@JSON
@click.pass_context
def cancel(context: click.Context, run: str, as_json: bool) -> None:
    """End a run. Its session on Kaggle, if any, goes on until it ends: Kaggle offers no way to stop it from outside.

    Example: relay cancel gsm-3f9a
    """
    _ask(context, run, "cancel", ("active", "waiting", "parked"), as_json)


def _ask(
    context: click.Context,
    name: str,
    verb: str,
    allowed: tuple[str, ...],
    as_json: bool,
    arguments: dict[str, str] | None = None,
) -> None:
    """Leave a request for the daemon; one that does not fit is refused now."""
    from orchestrator.views import answers
    from orchestrator.views.document import daemon_document

    app = app_of(context)
    run = app.run(name).run
    if run.status.value not in allowed:
        raise BadInput(f"{run.id} is {run.status}: relay {verb} is for a run that is {' or '.join(allowed)}")
    now = app.clock.now()
    number = app.store.request(run.id, verb, arguments or {}, now)
    daemon = daemon_document(app.store.lease(), now)
    alone = daemon is None or not daemon["runs"]
    if as_json:
        answers.print_json(answers.asked(run.id, verb, arguments or {}, number, daemon_runs=not alone))
        return
    type_ = "; no daemon runs here, so type: relay daemon" if alone else ""
    click.echo(f"{run.id}: {verb} noted; the daemon obeys at its next turn{type_}")
