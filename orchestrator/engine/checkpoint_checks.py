"""Compares the copies of a checkpoint with its manifest: the files on this disk, and a dataset as Kaggle lists it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from orchestrator.base.errors import Permanent, Refused, Vanished
from orchestrator.engine.home import HomeLayout
from orchestrator.platforms.port import DatasetSeen, FileWanted, Platform
from stages.contract import COMPILED_NAME, MANIFEST_NAME, FileEntry, Manifest, checkpoint_folder
from stages.session import packing
from state.model.run_state import Checkpoint, Session

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


def is_here(checkpoint: Checkpoint, home: HomeLayout) -> bool:
    """Return True if this disk has all of the checkpoint's files, by name and size; bytes are compared before use."""
    folder = home.checkpoint(checkpoint.run, checkpoint.name)
    return all(_size_bytes(folder / name) == size_bytes for name, size_bytes in _needed(checkpoint))


def is_dataset(checkpoint: Checkpoint, gateway: Platform) -> bool:
    """Return True if Kaggle has the checkpoint's dataset with all of its files, or is still processing it."""
    seen = gateway.find_dataset(checkpoint.place)
    if seen is None:
        return False
    return seen.status in PROCESSED or _needed(checkpoint) <= {(file.name, file.size_bytes) for file in seen.files}


def is_output(checkpoint: Checkpoint, session: Session, gateway: Platform) -> bool:
    """Return True if Kaggle lists all of the checkpoint's files in the output of the session that left it."""
    try:
        listing = gateway.output(session.slug, session.kernel_version)
    except (Refused, Vanished):  # the kernel was deleted
        return False
    names = {f"{checkpoint_folder(checkpoint.cursor)}/{name}" for name, _ in _needed(checkpoint)}
    return names <= {file.name for file in listing if not file.refused}


def _needed(checkpoint: Checkpoint) -> set[tuple[str, int]]:
    """Return name and size of each file without which the checkpoint is lost. The database has the manifest."""
    own = (COMPILED_NAME, MANIFEST_NAME)
    return {(entry.path, entry.size_bytes) for entry in entries_of(checkpoint) if entry.path not in own}


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def refuse_public(seen: DatasetSeen, run: str) -> None:
    """Raise Permanent for a public dataset."""
    if not seen.private:
        raise Permanent(f"the dataset {seen.ref} is public: make it private on Kaggle, then type relay retry {run}")
