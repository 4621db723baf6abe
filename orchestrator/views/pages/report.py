"""Writes a run's page atomically to one file."""

from pathlib import Path

from orchestrator.base.disk import write_whole
from orchestrator.base.errors import BadInput


def write_report(page: str, path: Path, option: str = "--output") -> None:
    """Write the page. Raises BadInput, without writing anything, if the path, given by `option`, is unusable."""
    if path.is_dir():
        raise BadInput(f"{option} {path} is a folder: name a file in it, such as {path / 'report.html'}")
    if not path.parent.is_dir():
        raise BadInput(f"{option} {path}: there is no folder {path.parent}: make it first, or name another file")
    try:
        write_whole(path, page.encode())
    except OSError as error:
        path.with_name(f"{path.name}.part").unlink(missing_ok=True)
        raise BadInput(f"{option} {path} cannot be written ({error.strerror}): name another file") from error
