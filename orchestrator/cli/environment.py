"""Commands for the packages that sessions install: fix them in a lock, publish them as a dataset."""

from pathlib import Path

import click

from orchestrator.base.humanize import counted
from orchestrator.cli.common import JSON, PIPELINE, app_of


@click.group()
def environment() -> None:
    """Manage the packages that sessions install: the same files in every session, without the network if need be.

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

    read = loader.load(pipeline)
    app.platforms.require_kaggle(read, "a dataset of packages")
    found = wheels.publish(read, app.gateway, app.clock, say)
    if as_json:
        json_output.print_json(json_output.environment_document(found))
        return
    there = "was there already" if found.there_before else "is published"
    click.echo(f"{found.ref} {there}: {counted(len(found.wheels.files), 'wheel')} for Python {found.wheels.python}")
    click.echo(f"write into the pipeline:\n\ninputs:\n  wheels: {found.ref}")


@environment.command()
@PIPELINE
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write, by default PIPELINE.lock.txt.")
@JSON
def lock(pipeline: Path, output: Path | None, as_json: bool) -> None:
    """Resolve the packages of PIPELINE's sessions and write all of them, with versions and hashes, as a lock file.

    A session installs those of the locked packages that its image lacks or has in another version. relay's own
    environments are locked already; this is for a list of your own, or to update a lock.

    Example: relay environment lock gsm.yaml -o gsm.lock.txt
    """
    from orchestrator.app import locks
    from orchestrator.views import json_output

    made = locks.lock_pipeline(pipeline, output)
    if as_json:
        json_output.print_json(json_output.lock_document(made.path, made.lock))
        return
    size = f", at most {made.lock.size_bytes / 2**20:,.0f} MiB" if made.lock.size_bytes else ""
    click.echo(f"{made.path}: {counted(len(made.lock.packages), 'package')}{size}, for Python {made.lock.python}")
    click.echo(f"write into the pipeline:\n\nenvironment: {made.name}")
