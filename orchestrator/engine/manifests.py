"""Which checkpoints a session's output holds, going by manifests that nothing speaks against; any other one is put aside."""

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
from state.model import Session

DOCUMENT_BYTES_MAX = 16 * 2**20
CANDIDATES_MAX = 64
"""A session keeps two or three; whoever lists thousands would have each of them fetched."""
REFUSED_NAMES_TOLD = 5
TRIES = 2
"""What arrives damaged is fetched once more: the first damage may have come on the way."""

Files = dict[str, OutputFile]


@dataclass(frozen=True)
class Candidate:
    """A checkpoint in a session's output: its manifest and where its files are."""

    manifest: Manifest
    folder: PurePosixPath


@dataclass(frozen=True)
class ManifestCheck:
    """What a session's checkpoints have to say of themselves."""

    session: Session
    parent: str | None
    """Digest of the checkpoint that the session started from."""
    name: str
    """Of the checkpoint that is to be collected."""

    def problem(self, manifest: Manifest, pipeline: Pipeline) -> str:
        """Why this manifest cannot be of the session, in a sentence, or nothing."""
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
            return f"the manifest stands at {manifest.cursor.stage} {manifest.cursor.step}, which the pipeline does not have"
        if odd := [e.path for e in manifest.files if "/" in e.path or e.path.endswith(".part")]:
            return f"the manifest names a file {odd[0][:80]!r}, which a dataset cannot hold"
        if clash := clashing([MANIFEST_NAME, SEAL_NAME, *(entry.path for entry in manifest.files)]):
            return f"the manifest names {clash[:80]!r}, which would overwrite another file"
        if not any(entry.path == BLOB_NAME for entry in manifest.files):
            return f"the manifest names no {BLOB_NAME}"
        if manifest.size_bytes > OUTPUT_BYTES_MAX:
            return f"the manifest promises {manifest.size_bytes:,} bytes, more than the {OUTPUT_BYTES_MAX:,} that a session can leave"
        return ""


def safe_files(listing: tuple[OutputFile, ...], name: str, quarantine: Quarantine) -> Files:
    """The listed files by name; those that no file here may be called are only told of."""
    refused = [file for file in listing if file.refused]
    for file in refused[:REFUSED_NAMES_TOLD]:
        quarantine.note(name, file.name, "output", file.refused)
    if (more := len(refused) - REFUSED_NAMES_TOLD) > 0:
        quarantine.note(name, "", "output", f"{more} more files have names that cannot be used")
    return {file.name: file for file in listing if not file.refused}


def fetch_document(file: OutputFile, gateway: Gateway, into: Path) -> bytes:
    """A small file's bytes, or Corrupt. Fetched anew each time: a listing does not say which version a file is of."""
    into.unlink(missing_ok=True)
    gateway.download(file, into, FileWanted(size_bytes_max=DOCUMENT_BYTES_MAX))
    return into.read_bytes()


def fetch_sealed(path: PurePosixPath, seal_name: str, files: Files, gateway: Gateway, into: Path) -> bytes:
    """A document's bytes, or Corrupt where they are not those of the seal beside it. Older sessions wrote no seals."""
    data = fetch_document(files[str(path)], gateway, into)
    seal = files.get(str(path.with_name(seal_name)))
    if seal is not None and fetch_document(seal, gateway, into.with_name(seal_name)) != seal_of(data):
        raise Corrupt(f"{path.name} has another SHA-256 than the session wrote beside it")
    return data


def candidates(
    expected: ManifestCheck, pipeline: Pipeline, files: Files, gateway: Gateway, incoming: Path, quarantine: Quarantine
) -> Iterator[Candidate]:
    """Every checkpoint of the session whose manifest is as it was written and says what it has to."""
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
    """The manifest in the very bytes that were written; Corrupt or ContractError otherwise."""
    data = fetch_sealed(path, SEAL_NAME, files, gateway, into)
    manifest = Manifest.from_json(data)
    if manifest.to_json().encode() != data:
        raise Corrupt("the manifest is not in the bytes that a session writes")
    return manifest
