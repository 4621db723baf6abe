"""`relay status`: one run on a screen, or a list of runs."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from orchestrator.base.errors import BadInput
from orchestrator.cli.common import JSON, RUN_OR_NONE, stop_on_signals, workspace_of
from orchestrator.views.run_choice import EVERY_RUN, RUNS_LISTED, SORTS, STATES, RunChoice, is_pattern, time_since

if TYPE_CHECKING:  # imported on use: `relay --help` must not wait for pydantic or rich
    from orchestrator.app.workspace import Workspace
    from state.reader import Reader


@click.command()
@RUN_OR_NONE
@click.option("--watch", "-w", is_flag=True, help="Keep it up to date, until Ctrl-C or until RUN is over or parked.")
@click.option("--all", "every", is_flag=True, help="Show every run, not only the most urgent twenty.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Show only runs in this state; repeatable."
)
@click.option("--since", metavar="AGE", help="Show only runs that changed since then, such as 12h, 3d or 2027-01-09.")
@click.option("--sort", type=click.Choice(SORTS), help="Order of the list [default: attention].")
@JSON
@click.pass_context
def status(
    context: click.Context, /, run: str | None, watch: bool, every: bool, as_json: bool, sort: str | None, **chosen: Any
) -> None:
    """Show the status of all runs, or of RUN. Needs no credentials.

    RUN may be a pattern, such as 'gsm-*', of ids or of pipelines' names; those runs are then listed.

    With --watch and a RUN, the exit status is 1 if the run was parked or cancelled. With --watch and --json, each
    change is one line.

    Example: relay status --watch
    """
    app = workspace_of(context)
    pattern = run if run and is_pattern(run) else ""
    named = app.run(run).run.id if run and not pattern else None
    given = {"all": every, "sort": sort, "state": chosen["states"], "since": chosen["since"]}
    if named and (option := next((name for name, value in given.items() if value), "")):
        raise BadInput(f"--{option} chooses among several runs: leave it out, or leave out {run}")
    since = time_since(chosen["since"], app.clock.now()) if chosen["since"] else None
    shown = ListOptions(
        RunChoice(pattern, chosen["states"], since), sort or "attention", None if every else RUNS_LISTED
    )
    if watch:
        context.exit(watch_status(app, named, as_json, shown))
    show_status(app, named, as_json, shown)


@dataclass(frozen=True)
class ListOptions:
    """Order and number of rows of a list of runs, and which runs it shows."""

    choice: RunChoice = EVERY_RUN
    sort: str = "attention"
    most: int | None = RUNS_LISTED
    """Maximum number of rows; None for all."""

    @property
    def read(self) -> RunChoice:
        """The runs to read: all that may be listed, unless their rows in the database tell which come first."""
        return replace(self.choice, most=self.most if self.sort == "attention" else None, brief=True)


def show_status(app: "Workspace", run: str | None, as_json: bool, shown: ListOptions) -> None:
    """Print the status of one run or of all runs."""
    from orchestrator.views.document import curves_of, status_document
    from orchestrator.views.moment import moment_of_any

    choice = shown.choice if as_json else shown.read
    with moment_of_any(app.reader if app.has_store else None, app.clock.now) as (store, now):
        document = status_document(store, app.home.path, now, run, app.warnings(), choice=choice)
        curves = {} if as_json else curves_of(store, document)
    if as_json:
        from orchestrator.views.json_output import print_json

        print_json(document)
        return
    from orchestrator.views.overview import status_view
    from orchestrator.views.printing import print_view

    print_view(status_view(document, curves, shown.sort, shown.most, filtered=shown.choice.filters))


def watch_status(app: "Workspace", run: str | None, as_json: bool, shown: ListOptions) -> int:
    """Show the status as it changes. Return the exit status."""
    from orchestrator.views.document import status_document
    from orchestrator.views.moment import moment_of_any
    from orchestrator.views.overview import status_view
    from orchestrator.views.printing import can_redraw, console
    from orchestrator.views.watch import Watcher, watch

    stop_on_signals(app.stop)
    on = console()
    choice = shown.choice if as_json or not can_redraw(on) else shown.read  # programs and logs get every run

    def read(store: "Reader | None") -> dict[str, Any]:
        with moment_of_any(store, app.clock.now) as (reader, now):
            return status_document(reader, app.home.path, now, run, app.warnings(), choice=choice)

    watcher = Watcher(lambda: app.reader if app.has_store else None, read, app.clock.now)
    view = partial(status_view, sort=shown.sort, most=shown.most, filtered=shown.choice.filters)
    return watch(watcher, run, on, app.clock, app.stop, as_json=as_json, view=view)
