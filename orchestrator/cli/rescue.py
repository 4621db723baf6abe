"""Commands for recovery: examine everything, back up the database, restore a backup."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli import completing
from orchestrator.cli.common import JSON, RUN_OR_NONE, app_of


@click.command()
@RUN_OR_NONE
@click.option("--offline", is_flag=True, help="Skip checks that need the network.")
@JSON
@click.pass_context
def doctor(context: click.Context, run: str | None, offline: bool, as_json: bool) -> None:
    """Check the database, the checkpoint copies, this machine and the platforms of the runs. Changes nothing.

    Exit status 0 if all is well, 1 with problems or warnings, 2 for an unknown RUN.

    Example: relay doctor
    """
    from orchestrator.app.doctor import command

    found = command.examine(app_of(context), run, offline=offline)
    if as_json:
        _print(found)
    else:
        from orchestrator.views.check import doctor_view
        from orchestrator.views.printing import print_view

        print_view(doctor_view(found))
    context.exit(command.exit_status(found))


@click.command()
@click.option(
    "--to",
    "into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the copy [backups below --home].",
)
@JSON
@click.pass_context
def backup(context: click.Context, into: Path | None, as_json: bool) -> None:
    """Back up the database, also while a daemon is running. The daemon does so at each published checkpoint.

    Example: relay backup --to /mnt/stick
    """
    from orchestrator.app import restore as rescue

    found = rescue.back_up(app_of(context), into, _quiet if as_json else click.echo)
    if as_json:
        _print(found)


@click.command()
@click.argument("backup", required=False, type=click.Path(path_type=Path), shell_complete=completing.backups)
@JSON
@click.pass_context
def restore(context: click.Context, backup: Path | None, as_json: bool) -> None:
    """Replace the database by BACKUP [default: the newest intact one]. The replaced database is kept.

    Example: relay restore
    """
    from orchestrator.app import restore as rescue

    found = rescue.restore(app_of(context), backup, _quiet if as_json else click.echo)
    if as_json:
        _print(found)


def _print(document: dict[str, Any]) -> None:
    from orchestrator.views.json_output import print_json

    print_json(document)


def _quiet(_sentence: str) -> None:
    """Discard a sentence: with --json only the document is printed."""
