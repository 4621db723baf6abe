"""`relay writeup`: writes the folder of a run's write-up, whole or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.app.workspace import Workspace
from orchestrator.base.disk import disk_errors, sync_folder, write_whole
from orchestrator.base.errors import BadInput
from orchestrator.views.run_writeup import read_writeup
from orchestrator.views.writeup.files import NAMES, NUMBERS_FILE, default_template, writeup_files
from orchestrator.views.writeup.text import TEXT_FILE

TEMPLATE_BYTES_MAX = 2**20


@dataclass(frozen=True)
class WriteupChoice:
    """The user's choices; None stands for the default."""

    folder: Path | None = None
    template: Path | None = None
    force: bool = False
    """Replace the folder of an earlier write-up."""


def write_up(app: Workspace, name: str, choice: WriteupChoice) -> str:
    """Write the write-up of a run and return a sentence for the user.

    Raises BadInput, with nothing changed, for an unusable folder or template and for too many words.
    """
    run = app.run(name).run.id
    folder = _target(choice.folder or Path(f"{run}-writeup"), force=choice.force)
    template = default_template() if choice.template is None else _read(choice.template)
    named = "relay's own template" if choice.template is None else f"--template {choice.template}"
    found = writeup_files(read_writeup(app.reader, app.home, run), template, named)
    with disk_errors(folder.parent), TemporaryDirectory(prefix=".relay-writeup-", dir=folder.parent) as scratch:
        made = Path(scratch) / "new"
        made.mkdir(mode=0o700)
        for file, data in found.items():
            write_whole(made / file, data)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        made.rename(folder)
        sync_folder(folder.parent)
    told = json.loads(found[NUMBERS_FILE])
    return (
        f"{folder} holds the write-up of {run}: {TEXT_FILE} with {told['words']:,} of at most {told['words_max']:,} words, and "
        f"{len(found) - 3} pictures and diagrams; {NUMBERS_FILE} says where each number comes from"
    )


def _target(path: Path, *, force: bool) -> Path:
    path = path.absolute()
    if not path.parent.is_dir():
        raise BadInput(f"--output {path}: {path.parent} is not a folder: create it first")
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise BadInput(f"--output {path} is not a folder: name another one")
    if path.is_dir() and not force:
        raise BadInput(
            f"--output {path} exists already: name a new folder, or replace an earlier write-up with --force"
        )
    if path.is_dir() and (others := sorted(found.name for found in path.iterdir() if found.name not in NAMES)):
        raise BadInput(
            f"--output {path} holds {others[0]}, which no write-up has: name another folder, or move it away"
        )
    return path


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(TEMPLATE_BYTES_MAX + 1)
    except OSError as error:
        raise BadInput(f"--template {path} cannot be read ({error.strerror}): name a file that can") from error
    if len(data) > TEMPLATE_BYTES_MAX:
        raise BadInput(f"--template {path} is larger than {TEMPLATE_BYTES_MAX:,} bytes: name a template")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"--template {path} is not text in UTF-8: save it as that") from error
