"""Commands for the packages that sessions install."""

from pathlib import Path

import click

from orchestrator.cli.common import JSON, PIPELINE, app_of


@click.group()
def environment() -> None:
    """Manage the packages that sessions install, so that they need no network.

    Example: relay environment publish gsm.yaml
    """


@environment.command()
@PIPELINE
@JSON
@click.pass_context
def publish(context: click.Context, pipeline: Path, as_json: bool) -> None:
    """Download the wheels that PIPELINE's sessions install and publish them as a private dataset.

    The dataset's name is derived from its contents, so the same wheels are published only once.

    Example: relay environment publish gsm.yaml
    """
    from orchestrator.engine import wheels
    from orchestrator.pipeline import loader
    from orchestrator.views import json_output

    app = app_of(context)

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    found = wheels.publish(loader.load(pipeline), app.gateway, app.clock, say)
    if as_json:
        json_output.print_json(json_output.environment_document(found))
        return
    there = "was there already" if found.there_before else "is published"
    click.echo(f"{found.ref} {there}: {len(found.wheels.files)} wheels for Python {found.wheels.python}")
    click.echo(f"write into the pipeline:\n\ninputs:\n  wheels: {found.ref}")
