"""Evidence of one home folder: add and read it, export it without names, and import that of others."""

import contextlib
import getpass
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.app.workspace import Workspace
from orchestrator.base.disk import disk_errors, write_whole
from orchestrator.base.errors import BadInput
from orchestrator.core import evidence_document
from orchestrator.core.assumptions import Evidence
from orchestrator.engine.evidence_files import EvidenceFiles, read_file


def add(workspace: Workspace, owner: str, evidence: Sequence[Evidence]) -> None:
    """Keep what was seen on an account. Raises RelayError if the disk refuses."""
    _files(workspace).add(owner, evidence)


def own(workspace: Workspace, owner: str) -> list[Evidence]:
    """Return what was seen on an account, oldest first. Raises BadInput if a file is damaged."""
    return _files(workspace).own(owner)


def export(workspace: Workspace, owner: str, to: Path) -> int:
    """Write an account's evidence to one file without names, and return the number of entries.

    Details that contain a name of the account, of its runs or of this machine are left out; verdicts and numbers stay.
    Raises BadInput if there is no evidence, or as `refuse_target` does.
    """
    refuse_target(to)
    found = own(workspace, owner)
    if not found:
        raise BadInput("there is no evidence of this account yet: relay probe PIPELINE collects it")
    with disk_errors(to):
        write_whole(to, evidence_document.written(evidence_document.anonymous(found, _names(workspace, owner))))
    return len(found)


def refuse_target(to: Path) -> None:
    """Raise BadInput if evidence cannot be written to `to`: it has no folder, or exists and is no file of evidence."""
    try:
        in_folder, exists = to.parent.is_dir(), to.exists()
    except OSError as error:
        raise BadInput(f"{to} cannot be written ({error.strerror or error}): name another file") from error
    if not in_folder:
        raise BadInput(f"{to} cannot be written, since there is no folder {to.parent}: create it, or name another file")
    if not os.access(to.parent, os.W_OK | os.X_OK):
        raise BadInput(f"{to} cannot be written, since this user may not write to {to.parent}: name another file")
    if exists:
        try:
            read_file(to)
        except BadInput as error:
            raise BadInput(f"{to} exists and is no file of evidence: name another file") from error


def import_others(workspace: Workspace, path: Path) -> evidence_document.EvidenceRead:
    """Keep the evidence of a file that somebody else exported, apart from one's own. Raises BadInput."""
    found = read_file(path)
    _files(workspace).add_others(found.evidence)
    return found


def _files(workspace: Workspace) -> EvidenceFiles:
    return EvidenceFiles.of(workspace.home.path, workspace.settings.environ)


def _names(workspace: Workspace, owner: str) -> Iterator[str]:
    """Yield every name of the account, of its runs and of this machine that a detail might contain."""
    yield owner
    yield str(workspace.home.path)
    yield socket.gethostname()
    with contextlib.suppress(KeyError, OSError):  # a user without a name
        yield getpass.getuser()
    yield from workspace.home.run_folders()
    if workspace.has_store:
        for names in workspace.reader.run_names():
            yield from names
        for run in workspace.reader.runs():
            yield run.owner
