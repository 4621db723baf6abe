"""What a shell offers at TAB: runs, sessions, checkpoints, pipeline files, names to explain. Silent where anything is amiss."""

import os
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from orchestrator.app.settings import home_folder
from state import completions

PIPELINES = (".yaml", ".yml")


def runs(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The runs, the newest first, each with its state."""
    return [
        CompletionItem(run, help=status)
        for run, status in completions.runs(_database(context))
        if run.startswith(begun)
    ]


def sessions(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Numbers of the sessions of the run that was named before."""
    found = dict.fromkeys(str(number) for number, _ in completions.sessions(_database(context), _run(context)))
    return [CompletionItem(number) for number in found if number.startswith(begun)]


def checkpoints(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of the checkpoints of the run that was named before."""
    found = completions.checkpoints(_database(context), _run(context))
    return [CompletionItem(name, help=f"{stage} {step}") for name, stage, step, _ in found if name.startswith(begun)]


def steps(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Places to go on from: the step alone where that names the newest checkpoint of that step, as bash parts words at colons."""
    found: dict[str, str] = {}
    for _, stage, step, usable in completions.checkpoints(_database(context), _run(context)):
        if usable:
            found.setdefault(f"{stage}:{step}" if str(step) in found else str(step), stage)
    return [CompletionItem(step, help=stage) for step, stage in found.items() if step.startswith(begun)]


def backups(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of the database's backups, the newest first."""
    names = sorted((path.name for path in _database(context).with_name("backups").glob("*.db")), reverse=True)
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def pipelines(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """YAML files, and folders that may hold some."""
    found = sorted(_files(begun))
    if len(found) == 1 and found[0].endswith("/"):
        return [CompletionItem(begun, type="dir")]  # the shell's own way puts no space behind it
    return [CompletionItem(path) for path in found]


def explained(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Kinds of stage, keys and options."""
    from orchestrator.pipeline.reference.lookup import names

    return [CompletionItem(name) for name in names() if name.startswith(begun)]


def _files(begun: str) -> Iterator[str]:
    folder, slash, start = begun.rpartition("/")
    try:
        for entry in os.scandir(os.path.expanduser(folder + slash) or "."):  # noqa: PTH111  # as it was typed
            hidden = entry.name.startswith(".") and not start.startswith(".")
            if entry.name.startswith(start) and not hidden:
                if entry.is_dir():
                    yield f"{folder}{slash}{entry.name}/"
                elif entry.name.endswith(PIPELINES):
                    yield f"{folder}{slash}{entry.name}"
    except OSError:
        return


def _database(context: click.Context) -> Path:
    option = context.find_root().params.get("home")
    return home_folder(option, os.environ) / "relay.db"


def _run(context: click.Context) -> str:
    """The run that was named; while an option still lacks its value, click has not yet given the arguments their names."""
    return str(context.params.get("run") or next(iter(context.args), ""))
