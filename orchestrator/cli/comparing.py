"""The command that compares runs."""

from pathlib import Path

import click

from orchestrator.base.errors import BadInput
from orchestrator.cli import completing
from orchestrator.cli.common import JSON, workspace_of


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN RUN...", shell_complete=completing.runs)
@click.option("--html", type=click.Path(path_type=Path), help="Write a page that needs no network to this file, too.")
@JSON
@click.pass_context
def compare(context: click.Context, runs: tuple[str, ...], html: Path | None, as_json: bool) -> None:
    """Compare two or more runs with the first one that is named.

    Shows how their pipelines differ, whether they have the same weights, their accuracies with tests of the
    differences, their quota hours and what was gained per hour, and their curves. Needs no credentials.

    Example: relay compare gsm-3f9a gsm-77c0 --html gsm.html
    """
    if len(runs) < 2:
        raise BadInput("relay compare takes at least two runs: relay status lists them")
    app = workspace_of(context)
    names = [app.run(run).run.id for run in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"{twice} is named twice: name two different runs")
    from orchestrator.views.moment import moment_of
    from orchestrator.views.run_comparison import read_comparison

    with moment_of(app.reader, app.clock.now) as (reader, now):
        document = read_comparison(reader, app.home, names, now)
    if html is not None:
        from orchestrator.views.pages.render import comparison_page
        from orchestrator.views.pages.report import write_report

        write_report(comparison_page(document), html, "--html")
    if as_json:
        from orchestrator.views.json_output import print_json

        print_json({**document, "path": None if html is None else str(html.resolve())})
        return
    from orchestrator.views.comparison import comparison_view
    from orchestrator.views.printing import print_view

    print_view(comparison_view(document))
    if html is not None:
        click.echo(f"{html} holds this comparison with its curves, in one file that needs no network")
