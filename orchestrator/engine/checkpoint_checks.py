"""Compares the copies of a checkpoint with its manifest: the files on this disk, and a dataset as Kaggle lists it."""

import hashlib
from dataclasses import dataclass

from orchestrator.base.errors import Permanent
from orchestrator.engine.home import HomeLayout
from orchestrator.kaggle.gateway import DatasetSeen, FileWanted
from stages.contract import COMPILED_NAME, MANIFEST_NAME, FileEntry, Manifest
from stages.session import packing
from state.model.run_state import Checkpoint

ON_ITS_WAY = ("not_yet_persisted", "blobs_received", "blobs_decompressed", "blobs_copied_to_sds")
PROCESSED = (*ON_ITS_WAY, "individual_blobs_compressed", "reprocessing")
"""Statuses of a dataset that will become ready without further action."""


def entries_of(checkpoint: Checkpoint) -> tuple[FileEntry, ...]:
    """Return an entry for every file of the checkpoint, its manifest (from the database) first."""
    data = checkpoint.manifest.encode()
    own = FileEntry(path=MANIFEST_NAME, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return (own, *Manifest.from_json(data).files)


@dataclass(frozen=True)
class Damage:
    """Damage to a file on this disk; `says` is a sentence for the user."""

    says: str
    unread: bool = False
    """True if the disk cannot read the file: it may still be intact, and nothing is lost yet."""


def damage_here(checkpoint: Checkpoint, home: HomeLayout) -> dict[str, Damage]:
    """Return the damage of the copy on this disk, by file; empty if every byte is as collected.

    The archive of compiled programs may be absent: the next session compiles them again.
    """
    found: dict[str, Damage] = {}
    folder = home.checkpoint(checkpoint.run, checkpoint.name)
    for entry in entries_of(checkpoint):
        path = folder / entry.path
        if path.is_dir():
            found[entry.path] = Damage(f"{entry.path} is a folder")
            continue
        if not path.is_file():
            if entry.path != COMPILED_NAME:
                found[entry.path] = Damage(f"{entry.path} is missing")
            continue
        try:
            size_bytes = path.stat().st_size
            sha256 = packing.sha256_of(path) if size_bytes == entry.size_bytes else ""
        except OSError as error:  # an unreadable sector
            found[entry.path] = Damage(f"{entry.path} cannot be read: {error.strerror or error}", unread=True)
            continue
        if problem := FileWanted(size_bytes=entry.size_bytes, sha256=entry.sha256).problem(size_bytes, sha256):
            found[entry.path] = Damage(f"{entry.path} is not what was collected: {problem}")
    return found


def lacking(checkpoint: Checkpoint, seen: DatasetSeen) -> list[str]:
    """Return the files that Kaggle does not list (yet), except the optional compiled programs."""
    listed = {file.name for file in seen.files}
    names = [entry.path for entry in entries_of(checkpoint)]
    return [name for name in names if name not in listed and name != COMPILED_NAME]


def listed_damage(checkpoint: Checkpoint, seen: DatasetSeen) -> dict[str, str]:
    """Return how the listed files differ from the manifest in name and size, one sentence per file."""
    sizes = {entry.path: entry.size_bytes for entry in entries_of(checkpoint)}
    found = {}
    for file in seen.files:
        if file.name not in sizes:
            found[file.name] = f"the dataset holds {file.name[:80]!r}, which is no file of the checkpoint"
        elif file.size_bytes != sizes[file.name]:
            found[file.name] = f"{file.name} has {file.size_bytes} bytes in the dataset instead of {sizes[file.name]}"
    return found


def refuse_public(seen: DatasetSeen, run: str) -> None:
    """Raise Permanent for a public dataset."""
    if not seen.private:
        raise Permanent(f"the dataset {seen.ref} is public: make it private on Kaggle, then type relay retry {run}")
