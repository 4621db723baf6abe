"""Commands to prepare a run: write its pipeline, and check everything that could stop it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.app.settings import Settings
from orchestrator.cli import completing
from orchestrator.cli.common import JSON, PIPELINE, app_of

if TYPE_CHECKING:
    from orchestrator.pipeline.model import Pipeline
    from orchestrator.platforms.port import Platform


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--name", help="Name of the pipeline and its runs [default: FILE's, else the model's].")
@click.option(
    "--model",
    help="gemma2-2b, gemma3-1b, gemma3-270m, gemma3-4b, qwen2.5-0.5b, qwen2.5-1.5b, qwen3-0.6b, qwen3-1.7b, llama3.2-1b, llama3.2-3b, or tiny for rehearsals [default: gemma2-2b].",
)
@click.option("--recipe", help="sft, sft+grpo or full [default: sft+grpo].")
@click.option(
    "--data", multiple=True, type=click.Path(path_type=Path), help="A .jsonl file of your own; can be repeated."
)
@click.option(
    "--accelerator", help="TpuV5E8, TpuV6E8, T4 (two GPUs, 30 hours a week of their own) or cpu [default: TpuV5E8]."
)
@click.option("--on-timeout", help="After a timeout: resume, or park the run [default: resume].")
@click.option(
    "--from",
    "from_",
    metavar="EXAMPLE",
    help="Copy this example as it is, with the files that it needs, such as counting or gemma2_2b.",
    shell_complete=completing.examples,
)
@click.option("--yes", "-y", is_flag=True, help="Ask nothing: use defaults for values that no flag sets.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def init(**flags: Any) -> None:
    """Write a commented pipeline to FILE [default: NAME.yaml], asking for values that no flag sets.

    Without a terminal nothing is asked, as with --yes. The file is adapted from one of relay's examples.

    Example: relay init poems.yaml --model gemma3-1b --recipe full
    """
    from orchestrator.pipeline.init import command

    command.init(command.Flags(**flags))


@click.command()
@PIPELINE
@click.option("--offline", is_flag=True, help="Skip checks that need the network.")
@JSON
@click.pass_context
def check(context: click.Context, pipeline: Path, offline: bool, as_json: bool) -> None:
    """Check everything that could stop a run of PIPELINE before it starts. Creates nothing.

    Exit status 0 without problems (warnings allowed), 1 with problems, 2 for an invalid file.

    Example: relay check examples/counting.yaml
    """
    from orchestrator.base.clock import SystemClock
    from orchestrator.preflight.check import command

    settings: Settings = context.obj
    now = SystemClock().now()

    def platform_of(read: "Pipeline") -> "Platform":
        return app_of(context).platforms.of(read)

    found = command.check(
        pipeline, settings.home, Path.home(), settings.environ, now, offline=offline, platform_of=platform_of
    )
    if as_json:
        from orchestrator.views.json_output import print_json

        print_json(found)
    else:
        from orchestrator.views.check import check_view
        from orchestrator.views.printing import print_view

        print_view(check_view(found))
    context.exit(command.exit_status(found))
