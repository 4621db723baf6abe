"""Reference commands for users, editors and shells. They need no home folder."""

import json
from pathlib import Path

import click

from orchestrator.cli import completing
from orchestrator.cli.common import JSON


@click.command("schema")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
def show_schema(output: Path | None) -> None:
    """Print the JSON Schema of pipeline files, with which editors complete, explain and check them.

    Example: relay schema --output pipeline.schema.json
    """
    from orchestrator.pipeline.reference.schema import schema
    from orchestrator.pipeline.reference.writing import write_schema

    text = json.dumps(schema(), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    write_schema(output, text)
    click.echo(f"{output} is written; put this line first in a pipeline file:")
    click.echo(f"# yaml-language-server: $schema={output.resolve()}")


@click.command("explain")
@click.argument("name", required=False, shell_complete=completing.explainable)
@JSON
def show_explanation(name: str | None, as_json: bool) -> None:
    """Explain a stage kind, a key of the pipeline file or an option; without NAME, list them all.

    Example: relay explain grpo.beta
    """
    from orchestrator.pipeline.reference.lookup import explain, overview

    document = explain(name, Path()) if name else overview()
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    from orchestrator.views.printing import print_view
    from orchestrator.views.reference import explanation_view

    print_view(explanation_view(document))


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def show_completion(context: click.Context, shell: str) -> None:
    """Print a SHELL script that completes commands, flags, runs, sessions, checkpoints and pipeline files.

    Example: relay completion bash > relay-completion.bash
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click knows the three shells"
    click.echo(kind(context.find_root().command, {}, "relay", "_RELAY_COMPLETE").source())
