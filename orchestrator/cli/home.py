"""Commands that set up an unattended daemon: notifications, and the system service."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.common import JSON, app_of

if TYPE_CHECKING:  # imported on use, to keep `relay --help` fast
    from orchestrator.app.service.command import DaemonService


@click.command()
@click.option("--test", is_flag=True, help="Send a test message and report which services accepted it.")
@JSON
@click.pass_context
def notify(context: click.Context, test: bool, as_json: bool) -> None:
    """Show which services the daemon notifies when a run needs attention, is finished, or lost a session.

    Example: relay notify --test
    """
    from orchestrator.app.notify import command

    app = app_of(context)
    told = command.read_settings(app.home.path, app.settings.environ, test=test)
    if as_json:
        from orchestrator.views.json_output import print_json

        print_json(command.settings_document(told))
    else:
        for line in command.settings_lines(told, app.home.path):
            click.echo(line)
    context.exit(told.status)


@click.group()
def service() -> None:
    """Run the daemon as a system service, which restarts it when it fails.

    Example: relay service install
    """


def service_manager_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select the service manager."""
    options = (
        click.option(
            "--systemd", "wanted", flag_value="systemd", help="Use a user unit of systemd [default on Linux]."
        ),
        click.option("--launchd", "wanted", flag_value="launchd", help="Use a launchd agent [default on macOS]."),
        click.option(
            "--schtasks", "wanted", flag_value="schtasks", help="Use Windows' Task Scheduler [default there]."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@service.command()
@service_manager_options
@click.option("--no-start", is_flag=True, help="Only write the file.")
@click.pass_context
def install(context: click.Context, wanted: str | None, no_start: bool) -> None:
    """Write the service file and start the daemon, now and at each login.

    Example: relay service install
    """
    context.exit(_service(context, wanted).install(start=not no_start))


@service.command()
@service_manager_options
@click.pass_context
def uninstall(context: click.Context, wanted: str | None) -> None:
    """Stop the service and remove its file. Runs and checkpoints stay.

    Example: relay service uninstall
    """
    context.exit(_service(context, wanted).uninstall())


@service.command("status")
@service_manager_options
@JSON
@click.pass_context
def service_status(context: click.Context, wanted: str | None, as_json: bool) -> None:
    """Show whether the service is installed and running; exit status 1 if it is not running.

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
@service_manager_options
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
