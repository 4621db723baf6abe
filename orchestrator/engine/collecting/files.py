"""Lists the files that a session left, and fetches small documents among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.base.disk import private_folder
from orchestrator.base.errors import Corrupt, Transient
from orchestrator.core.plan import checkpoint_of
from orchestrator.engine.quarantine import Quarantine
from orchestrator.platforms.port import FileWanted, OutputFile, Platform
from stages.contract import seal_of
from state.model.run_state import Session

DOCUMENT_BYTES_MAX = 16 * 2**20
REFUSED_NAMES_TOLD = 5
TRIES = 2
"""Number of attempts to fetch a file: damage in the first may come from the transfer."""


@dataclass(frozen=True)
class SessionFiles:
    """The files of a session's output with names that are safe here, by name."""

    listed: Mapping[str, OutputFile]
    gateway: Platform
    incoming: Path
    """Folder on this disk for the documents that are fetched."""
    quarantine: Quarantine
    checkpoint: str
    """Name of the checkpoint that is collected from them."""

    def document(self, file: OutputFile, into: Path) -> bytes:
        """Fetch a small file's bytes; raises Corrupt.

        It is fetched anew each time: a listing does not tell a file's version.
        """
        into.unlink(missing_ok=True)
        self.gateway.download(file, into, FileWanted(size_bytes_max=DOCUMENT_BYTES_MAX))
        return into.read_bytes()

    def sealed(self, path: PurePosixPath, seal_name: str, into: Path) -> bytes:
        """Fetch a document's bytes; raises Corrupt if they differ from their seal. Older sessions wrote no seals."""
        data = self.document(self.listed[str(path)], into)
        seal = self.listed.get(str(path.with_name(seal_name)))
        if seal is not None and self.document(seal, into.with_name(seal_name)) != seal_of(data):
            raise Corrupt(f"{path.name} does not match the SHA-256 that the session wrote beside it")
        return data


def list_files(
    session: Session, gateway: Platform, quarantine: Quarantine, *, believe_empty: bool = True
) -> SessionFiles:
    """Return the session's files; those with names that are unsafe here are only noted in `quarantine`.

    Raises Transient if Kaggle lists nothing and `believe_empty` is False.
    """
    listing = gateway.output(session.slug, session.kernel_version)
    if not listing and not believe_empty:
        raise Transient(
            f"{gateway.label} lists no output of {session.slug}: relay asks again before it takes that as an answer"
        )
    checkpoint = checkpoint_of(session.run, session.number, session.attempt)
    refused = [file for file in listing if file.refused]
    for file in refused[:REFUSED_NAMES_TOLD]:
        quarantine.note(checkpoint, file.name, "output", file.refused)
    if (more := len(refused) - REFUSED_NAMES_TOLD) > 0:
        quarantine.note(checkpoint, "", "output", f"{more} more files have names that cannot be used")
    safe = {file.name: file for file in listing if not file.refused}
    return SessionFiles(safe, gateway, private_folder(quarantine.home.incoming(session)), quarantine, checkpoint)
