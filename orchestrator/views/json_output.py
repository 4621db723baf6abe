"""JSON output of commands (see docs/json.md), and the function that prints it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.views.document import FORMAT
from state.model.run_state import Run

if TYPE_CHECKING:
    from orchestrator.engine.wheels import Published
    from stages.session.package_lock import PackageLock


def print_json(document: dict[str, Any]) -> None:
    """Print one document."""
    click.echo(json.dumps(document, indent=2))


def started_document(run: Run) -> dict[str, Any]:
    """Describe a run that was just created."""
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


def request_document(
    run: str, verb: str, arguments: dict[str, str], number: int, *, daemon_runs: bool
) -> dict[str, Any]:
    """Describe a request stored for the daemon. `command` is null if a daemon is running."""
    return {
        "format": FORMAT,
        "run": run,
        "request": number,
        "verb": verb,
        "arguments": arguments,
        "command": None if daemon_runs else "relay daemon",
    }


def report_document(run: str, path: Path) -> dict[str, Any]:
    """Describe a file that contains a run's report."""
    return {"format": FORMAT, "run": run, "path": str(path.resolve())}


def lock_document(path: Path, lock: "PackageLock") -> dict[str, Any]:
    """Describe a lock file."""
    return {
        "format": FORMAT,
        "lock": str(path),
        "digest": lock.digest,
        "python": lock.python,
        "platform": lock.platform,
        "pins": list(lock.pins),
        "packages": {package.name: package.version for package in lock.packages},
        "size_bytes": lock.size_bytes,
    }


def environment_document(found: "Published") -> dict[str, Any]:
    """Describe a published dataset of wheels."""
    wheels = found.wheels
    return {
        "format": FORMAT,
        "wheels": found.ref,
        "python": wheels.python,
        "pins": list(wheels.pins),
        "files": dict(wheels.files),
        "built": dict(wheels.built),
        "size_bytes": wheels.size_bytes,
        "there_before": found.there_before,
    }


def artifacts_document(run: str, found: Iterable[Path]) -> dict[str, Any]:
    """List the text files that came with a run's checkpoints."""
    listed = [{"name": path.name, "path": str(path), "size_bytes": path.stat().st_size} for path in found]
    return {"format": FORMAT, "run": run, "artifacts": listed}
