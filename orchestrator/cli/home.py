"""Commands that make the daemon at home: messages to a person, and the service that the system starts."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.common import JSON, app_of

if TYPE_CHECKING:  # imported where it is used: `relay --help` must not wait for it
    from orchestrator.app.service.command import DaemonService


@click.command()
@click.option("--test", is_flag=True, help="Send one message now and say who took it.")
@JSON
@click.pass_context
def notify(context: click.Context, test: bool, as_json: bool) -> None:
    """Whom the daemon tells that a run needs somebody, is finished, or lost a session.

    Example: relay notify --test
    """
    from orchestrator.app.notify import command

    app = app_of(context)
    told = command.configured(app.home.path, app.settings.environ, test=test)
    if as_json:
        from orchestrator.views.json_output import print_json

        print_json(command.document(told))
    else:
        for line in command.lines(told, app.home.path):
            click.echo(line)
    context.exit(told.status)


@click.group()
def service() -> None:
    """Have the system start the daemon, and start it again when it fails.

    Example: relay service install
    """


def on_a_system(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that names the system."""
    options = (
        click.option("--systemd", "wanted", flag_value="systemd", help="A user unit of systemd [on Linux]."),
        click.option("--launchd", "wanted", flag_value="launchd", help="An agent of launchd [on macOS]."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@service.command()
@on_a_system
@click.option("--no-start", is_flag=True, help="Only write the file.")
@click.pass_context
def install(context: click.Context, wanted: str | None, no_start: bool) -> None:
    """Write the service's file and start it, now and whenever you log in.

    Example: relay service install
    """
    context.exit(_service(context, wanted).install(start=not no_start))


@service.command()
@on_a_system
@click.pass_context
def uninstall(context: click.Context, wanted: str | None) -> None:
    """Stop the service and remove its file. Runs and checkpoints stay.

    Example: relay service uninstall
    """
    context.exit(_service(context, wanted).uninstall())


@service.command("status")
@on_a_system
@JSON
@click.pass_context
def service_status(context: click.Context, wanted: str | None, as_json: bool) -> None:
    """Whether the service is installed and runs; exit status 1 where it does not.

    Example: relay service status
    """
    found = _service(context, wanted)
    if not as_json:
        context.exit(found.status())
    from orchestrator.views.json_output import print_json

    document = found.document()
    print_json(document)
    context.exit(0 if document["running"] else 1)


@service.command()
@on_a_system
@click.pass_context
def show(context: click.Context, wanted: str | None) -> None:
    """Print the file that `install` would write.

    Example: relay service show --launchd
    """
    context.exit(_service(context, wanted).show())


def _service(context: click.Context, wanted: str | None) -> "DaemonService":
    from orchestrator.app.service.command import DaemonService, system_for

    app = app_of(context)
    system = system_for(app.settings, wanted, Path.home())
    return DaemonService(app.settings, system, Path.home(), click.echo, app.working_daemon)
