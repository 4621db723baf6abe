"""Shell completion of runs, sessions, checkpoints, pipeline files and names to explain. Errors yield no candidates."""

import os
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from orchestrator.app.settings import home_folder
from state import completions

PIPELINES = (".yaml", ".yml")


def runs(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete ids of runs, newest first, each with its state."""
    return [
        CompletionItem(run, help=status)
        for run, status in completions.runs(_database(context))
        if run.startswith(begun)
    ]


def sessions(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete session numbers of the run on the command line."""
    found = dict.fromkeys(str(number) for number, _ in completions.sessions(_database(context), _run(context)))
    return [CompletionItem(number) for number in found if number.startswith(begun)]


def checkpoints(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete checkpoint names of the run on the command line."""
    found = completions.checkpoints(_database(context), _run(context))
    return [CompletionItem(name, help=f"{stage} {step}") for name, stage, step, _ in found if name.startswith(begun)]


def steps(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete steps to resume from.

    The step alone stands for the newest checkpoint at that step, since bash splits words at colons; older ones get
    STAGE:STEP.
    """
    found: dict[str, str] = {}
    for _, stage, step, usable in completions.checkpoints(_database(context), _run(context)):
        if usable:
            found.setdefault(f"{stage}:{step}" if str(step) in found else str(step), stage)
    return [CompletionItem(step, help=stage) for step, stage in found.items() if step.startswith(begun)]


def backups(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete names of the database's backups, newest first."""
    names = sorted((path.name for path in _database(context).with_name("backups").glob("*.db")), reverse=True)
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def differences(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete keys of assumptions from which the local Kaggle can differ."""
    from orchestrator.core.assumptions import ASSUMPTIONS

    return [
        CompletionItem(key, help=assumption.assumes)
        for key, assumption in ASSUMPTIONS.items()
        if assumption.rehearsed and key.startswith(begun)
    ]


def examples(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete names of relay's examples."""
    from orchestrator.pipeline.examples import example_names

    return [CompletionItem(name) for name in example_names() if name.startswith(begun)]


def pipelines(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete YAML files, and folders that may contain some."""
    found = sorted(_files(begun))
    if len(found) == 1 and found[0].endswith("/"):
        return [CompletionItem(begun, type="dir")]  # completed by the shell, which adds no space after a folder
    return [CompletionItem(path) for path in found]


def explainable(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete stage kinds, keys and options."""
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
    """Return the run on the command line; click binds arguments to names only once all options have values."""
    return str(context.params.get("run") or next(iter(context.args), ""))
