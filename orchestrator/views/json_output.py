"""What commands answer as JSON (see docs/json.md), and the one place that prints it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.views.document import FORMAT
from state.model import Run

if TYPE_CHECKING:
    from orchestrator.engine.wheels import Published


def print_json(document: dict[str, Any]) -> None:
    """Print one document."""
    click.echo(json.dumps(document, indent=2))


def started(run: Run) -> dict[str, Any]:
    """A run that was just created."""
    return {
        "format": FORMAT,
        "run": run.id,
        "name": run.name,
        "owner": run.owner,
        "accelerator": run.accelerator,
        "state": run.status.value,
        "pipeline": run.pipeline_path,
        "pipeline_digest": run.pipeline_digest,
        "command": "relay daemon",
    }


def asked(run: str, verb: str, arguments: dict[str, str], number: int, *, daemon_runs: bool) -> dict[str, Any]:
    """A request that was left for the daemon; `command` is null where one runs that will obey."""
    return {
        "format": FORMAT,
        "run": run,
        "request": number,
        "verb": verb,
        "arguments": arguments,
        "command": None if daemon_runs else "relay daemon",
    }


def written(run: str, path: Path) -> dict[str, Any]:
    """A file that holds a run's report."""
    return {"format": FORMAT, "run": run, "path": str(path.resolve())}


def wheels_published(found: "Published") -> dict[str, Any]:
    """A dataset of wheels."""
    wheels = found.wheels
    return {
        "format": FORMAT,
        "wheels": found.ref,
        "python": wheels.python,
        "pins": list(wheels.pins),
        "files": dict(wheels.files),
        "size_bytes": wheels.size_bytes,
        "there_before": found.there_before,
    }


def artifacts(run: str, found: Iterable[Path]) -> dict[str, Any]:
    """The texts that came with a run's checkpoints."""
    listed = [{"name": path.name, "path": str(path), "size_bytes": path.stat().st_size} for path in found]
    return {"format": FORMAT, "run": run, "artifacts": listed}
