"""Fetches a session's newest checkpoint that verifies, and stores it in the home folder."""

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from orchestrator.base.concurrency import run_concurrently
from orchestrator.base.disk import private_folder, replace_file, sync_folder, write_whole
from orchestrator.base.errors import Corrupt
from orchestrator.engine.collecting.files import TRIES, SessionFiles
from orchestrator.engine.collecting.manifests import Candidate
from orchestrator.pipeline.model import Pipeline
from orchestrator.platforms.port import FileWanted
from stages.contract import COMPILED_NAME, MANIFEST_NAME, FileEntry, Manifest
from stages.documents import ContractError
from state.model.run_state import Session

Verified = Callable[[Path, str], object]
"""Callback for each verified file of a checkpoint and its SHA-256, on the thread that fetched it."""


def ignored(_path: Path, _sha256: str) -> None:
    """Do nothing: the default `Verified` callback."""


def fetch_newest(
    session: Session,
    pipeline: Pipeline,
    found: Sequence[Candidate],
    files: SessionFiles,
    into: Path,
    verified: Verified = ignored,
) -> Manifest | None:
    """Fetch the newest checkpoint that verifies and is newer than the session's start; None if there is none."""
    start = pipeline.position(session.start)
    newer = [candidate for candidate in found if pipeline.position(candidate.manifest.cursor) > start]
    for candidate in sorted(newer, key=lambda c: pipeline.position(c.manifest.cursor), reverse=True):
        for _try in range(TRIES):
            try:
                fetch_checkpoint(candidate, files, into, verified)
            except Corrupt:
                continue
            return candidate.manifest
    return None


def fetch_checkpoint(candidate: Candidate, files: SessionFiles, into: Path, verified: Verified = ignored) -> None:
    """Fetch every file of the manifest into its folder, the manifest last; raises Corrupt if one is missing or differs.

    Files are fetched concurrently, and a damaged one does not discard the others: they are there for the retry. Only
    the compiled programs may be missing or differ: then they are left out, and the next session compiles them again.
    """
    quarantine = files.quarantine
    private_folder(into)
    (into / MANIFEST_NAME).unlink(missing_ok=True)
    quarantine.make_room_for(candidate.manifest, into)
    transfers = [
        _FileFetch(candidate.folder, entry, into, quarantine.place(into.name, entry.path))
        for entry in candidate.manifest.files
    ]
    damages = run_concurrently(
        [partial(transfer.fetched, files, verified) for transfer in transfers], files.gateway.abreast_max
    )
    for transfer, damage in zip(transfers, damages, strict=True):
        if damage is not None:
            quarantine.note(into.name, transfer.entry.path, "output", str(damage), transfer.damaged)
    for transfer, damage in zip(transfers, damages, strict=True):
        if damage is not None and transfer.entry.path != COMPILED_NAME:
            raise damage
        if damage is not None:
            (into / transfer.entry.path).unlink(missing_ok=True)
    write_whole(into / MANIFEST_NAME, candidate.manifest.to_json().encode())
    sync_folder(into.parent)


@dataclass(frozen=True)
class _FileFetch:
    """Fetches one file of a checkpoint."""

    folder: PurePosixPath
    """Folder of the checkpoint in the session's output."""
    entry: FileEntry
    into: Path
    damaged: Path
    """Path for bytes that differ from the manifest."""

    def fetched(self, files: SessionFiles, verified: Verified) -> Corrupt | None:
        """Fetch the file, and return any damage as a value: only other errors must stop further files."""
        name = str(self.folder / self.entry.path)
        if name not in files.listed:
            return Corrupt(f"{name} is missing from the session's output")
        wanted = FileWanted(size_bytes=self.entry.size_bytes, sha256=self.entry.sha256, damaged=self.damaged)
        _copy_local(self.entry, self.into)
        try:
            files.gateway.download(files.listed[name], self.into / self.entry.path, wanted)
        except Corrupt as error:
            return error
        verified(self.into / self.entry.path, self.entry.sha256)
        return None


def _copy_local(entry: FileEntry, into: Path) -> None:
    """Copy a file from another local checkpoint of the run with the same bytes, as compiled programs often have.

    This only saves bandwidth: the download that follows hashes the file, and fetches it if it differs.
    """
    if (into / entry.path).exists():
        return
    part = into / f"{entry.path}.part"
    for manifest in sorted(into.parent.glob(f"*/{MANIFEST_NAME}"), reverse=True):
        with contextlib.suppress(OSError, ContractError):
            if entry in Manifest.from_json(manifest.read_bytes()).files:
                shutil.copyfile(manifest.with_name(entry.path), part)
                replace_file(part, into / entry.path)
                return
