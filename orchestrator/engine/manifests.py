"""Finds the checkpoints in a session's output whose manifests pass every check; others are quarantined."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.base.errors import Corrupt
from orchestrator.engine.quarantine import Quarantine
from orchestrator.kaggle.gateway import FileWanted, Gateway, OutputFile
from orchestrator.pipeline.chips import OUTPUT_BYTES_MAX
from orchestrator.pipeline.model import Pipeline
from stages.contract import (
    BLOB_NAME,
    CHECKPOINTS_DIRECTORY,
    MANIFEST_NAME,
    OUTPUT_DIRECTORY,
    SEAL_NAME,
    Manifest,
    clashing,
    seal_of,
)
from stages.documents import ContractError
from state.model.run_state import Session

DOCUMENT_BYTES_MAX = 16 * 2**20
CANDIDATES_MAX = 64
"""Maximum number of manifests that are fetched from one session. A session keeps two or three checkpoints."""
REFUSED_NAMES_TOLD = 5
TRIES = 2
"""Number of attempts to fetch a file: damage in the first may come from the transfer."""

Files = dict[str, OutputFile]


@dataclass(frozen=True)
class Candidate:
    """A checkpoint in a session's output: its manifest, and the folder of its files."""

    manifest: Manifest
    folder: PurePosixPath


@dataclass(frozen=True)
class ManifestCheck:
    """Check that a session's manifests must pass."""

    session: Session
    parent: str | None
    """Digest of the checkpoint that the session started from."""
    name: str
    """Name of the checkpoint that is to be collected."""

    def problem(self, manifest: Manifest, pipeline: Pipeline) -> str:
        """Return why this manifest cannot be the session's, in a sentence, or an empty string."""
        session = self.session
        if (manifest.run, manifest.session, manifest.attempt, manifest.token) != (
            session.run,
            session.number,
            session.attempt,
            session.token,
        ):
            return "the manifest is another session's"
        if manifest.parent != self.parent:
            return f"the manifest names the parent {manifest.parent}, and the session started from {self.parent}"
        if not pipeline.holds(manifest.cursor):
            return (
                f"the manifest is at {manifest.cursor.stage} step {manifest.cursor.step}, which the pipeline does not "
                "have"
            )
        if odd := [e.path for e in manifest.files if "/" in e.path or e.path.endswith(".part")]:
            return f"the manifest names a file {odd[0][:80]!r}, which a dataset cannot hold"
        if clash := clashing([MANIFEST_NAME, SEAL_NAME, *(entry.path for entry in manifest.files)]):
            return f"the manifest names {clash[:80]!r}, which would overwrite another file"
        if not any(entry.path == BLOB_NAME for entry in manifest.files):
            return f"the manifest names no {BLOB_NAME}"
        if manifest.size_bytes > OUTPUT_BYTES_MAX:
            return (
                f"the manifest promises {manifest.size_bytes:,} bytes, more than the {OUTPUT_BYTES_MAX:,} that a "
                "session can leave"
            )
        return ""


def safe_files(listing: tuple[OutputFile, ...], name: str, quarantine: Quarantine) -> Files:
    """Return the listed files by name; files with names that are unsafe here are only noted in `quarantine`."""
    refused = [file for file in listing if file.refused]
    for file in refused[:REFUSED_NAMES_TOLD]:
        quarantine.note(name, file.name, "output", file.refused)
    if (more := len(refused) - REFUSED_NAMES_TOLD) > 0:
        quarantine.note(name, "", "output", f"{more} more files have names that cannot be used")
    return {file.name: file for file in listing if not file.refused}


def fetch_document(file: OutputFile, gateway: Gateway, into: Path) -> bytes:
    """Fetch a small file's bytes; raises Corrupt. Fetched anew each time: a listing does not tell a file's version."""
    into.unlink(missing_ok=True)
    gateway.download(file, into, FileWanted(size_bytes_max=DOCUMENT_BYTES_MAX))
    return into.read_bytes()


def fetch_sealed(path: PurePosixPath, seal_name: str, files: Files, gateway: Gateway, into: Path) -> bytes:
    """Fetch a document's bytes; raises Corrupt if they differ from their seal. Older sessions wrote no seals."""
    data = fetch_document(files[str(path)], gateway, into)
    seal = files.get(str(path.with_name(seal_name)))
    if seal is not None and fetch_document(seal, gateway, into.with_name(seal_name)) != seal_of(data):
        raise Corrupt(f"{path.name} does not match the SHA-256 that the session wrote beside it")
    return data


def candidates(
    expected: ManifestCheck, pipeline: Pipeline, files: Files, gateway: Gateway, incoming: Path, quarantine: Quarantine
) -> Iterator[Candidate]:
    """Yield every checkpoint of the session whose manifest is unchanged and passes the check."""
    top = (OUTPUT_DIRECTORY, CHECKPOINTS_DIRECTORY)
    paths = [path for path in map(PurePosixPath, files) if path.name == MANIFEST_NAME and path.parts[:2] == top]
    for path in sorted(paths, reverse=True)[:CANDIDATES_MAX]:
        for _try in range(TRIES):
            into = incoming / f"{path.parent.name}.{MANIFEST_NAME}"
            try:
                manifest = _manifest(path, files, gateway, into)
            except (ContractError, Corrupt) as error:
                quarantine.take(into, expected.name, str(path), "output", str(error))
                continue
            if problem := expected.problem(manifest, pipeline):
                quarantine.take(into, expected.name, str(path), "output", problem)
            else:
                yield Candidate(manifest, path.parent)
            break


def _manifest(path: PurePosixPath, files: Files, gateway: Gateway, into: Path) -> Manifest:
    """Fetch a manifest byte for byte as it was written; raises Corrupt or ContractError otherwise."""
    data = fetch_sealed(path, SEAL_NAME, files, gateway, into)
    manifest = Manifest.from_json(data)
    if manifest.to_json().encode() != data:
        raise Corrupt("the manifest is not byte for byte what a session writes")
    return manifest
