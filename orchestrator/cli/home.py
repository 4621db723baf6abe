"""Commands that make the daemon at home: messages to a person, and the service that the system starts."""

import click

from orchestrator.cli.common import app_of


@click.command()
@click.option("--test", is_flag=True, help="Send one message now and say who took it.")
@click.pass_context
def notify(context: click.Context, test: bool) -> None:
    """Whom the daemon tells that a run needs somebody, is finished, or lost a session.

    Example: relay notify --test
    """
    from orchestrator.notify import command

    app = app_of(context)
    if test:
        context.exit(command.test(app.home.path, app.settings.environ, click.echo))
    command.show(app.home.path, app.settings.environ, click.echo)
