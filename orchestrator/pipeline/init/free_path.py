"""Refuses to write a new file over an existing one."""

from pathlib import Path

from orchestrator.base.errors import BadInput
from orchestrator.base.systems import name_problem


def require_free(path: Path, force: bool) -> None:
    """Raise BadInput unless a file can be written at `path` without losing one; `force` allows overwriting a file."""
    if problem := name_problem(path):
        raise BadInput(problem)
    if path.is_dir():
        raise BadInput(f"{path} is a folder: name a file in it, such as {path / 'gsm.yaml'}")
    if path.exists() and not force:
        raise BadInput(f"{path} is there already: name another file, or write over it with --force")
    if not path.parent.is_dir():
        raise BadInput(f"{path.parent} is not a folder: make it first, or name another place for {path.name}")
