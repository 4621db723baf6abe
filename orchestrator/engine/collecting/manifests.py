"""Finds the checkpoints in a session's output whose manifests pass every check; others are quarantined."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.base.errors import Corrupt
from orchestrator.engine.collecting.files import TRIES, SessionFiles
from orchestrator.pipeline.chips import OUTPUT_BYTES_MAX
from orchestrator.pipeline.model import Pipeline
from stages.contract import (
    BLOB_NAME,
    CHECKPOINTS_DIRECTORY,
    MANIFEST_NAME,
    OUTPUT_DIRECTORY,
    SEAL_NAME,
    Manifest,
)
from stages.documents import ContractError
from stages.file_names import clashing
from state.model.run_state import RunState, Session

CANDIDATES_MAX = 64
"""Maximum number of manifests that are fetched from one session. A session keeps two or three checkpoints."""


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


def candidates(state: RunState, session: Session, pipeline: Pipeline, files: SessionFiles) -> Iterator[Candidate]:
    """Yield every checkpoint of the session whose manifest is unchanged and passes the check."""
    expected = ManifestCheck(session, state.parent_digest(session))
    top = (OUTPUT_DIRECTORY, CHECKPOINTS_DIRECTORY)
    paths = [path for path in map(PurePosixPath, files.listed) if path.name == MANIFEST_NAME and path.parts[:2] == top]
    for path in sorted(paths, reverse=True)[:CANDIDATES_MAX]:
        for _try in range(TRIES):
            into = files.incoming / f"{path.parent.name}.{MANIFEST_NAME}"
            try:
                manifest = _manifest(path, files, into)
            except (ContractError, Corrupt) as error:
                files.quarantine.take(into, files.checkpoint, str(path), "output", str(error))
                continue
            if problem := expected.problem(manifest, pipeline):
                files.quarantine.take(into, files.checkpoint, str(path), "output", problem)
            else:
                yield Candidate(manifest, path.parent)
            break


def _manifest(path: PurePosixPath, files: SessionFiles, into: Path) -> Manifest:
    """Fetch a manifest byte for byte as it was written; raises Corrupt or ContractError otherwise."""
    data = files.sealed(path, SEAL_NAME, into)
    manifest = Manifest.from_json(data)
    if manifest.to_json().encode() != data:
        raise Corrupt("the manifest is not byte for byte what a session writes")
    return manifest
