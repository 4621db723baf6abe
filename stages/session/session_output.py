"""Writes the files that a session leaves for the laptop: the report and the newest
checkpoints, each complete or absent."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from stages.contract import (
    ARTIFACTS_DIRECTORY,
    BLOB_NAME,
    EXPORTS_DIRECTORY,
    MANIFEST_NAME,
    OUTPUT_DIRECTORY,
    REPORT_NAME,
    REPORT_SEAL_NAME,
    SEAL_NAME,
    Cursor,
    Manifest,
    Order,
    Report,
    checkpoint_folder,
    seal_of,
)
from stages.numerics import Numerics
from stages.session import packing
from stages.session.compilation_cache import Compiled
from stages.stage import StageFailed

UNFINISHED = ".unfinished"
"""Folder for unfinished files: on the same file system as the final place, so that a rename completes
them, and hidden from readers."""

LOOK_S = 0.2
"""Interval at which a process looks for what the first one writes, in seconds."""
CHECKPOINT_S_MAX = 3600.0
"""Longest wait for a checkpoint that the first process packs and hashes, in seconds."""
REPORT_S_MAX = 60.0
"""Longest wait for the first process's report, in seconds."""


class Output:
    """The folder `relay` below `/kaggle/working`."""

    def __init__(self, working: Path, order: Order) -> None:
        self._root = working / OUTPUT_DIRECTORY
        self._order = order
        self._kept: list[tuple[Path, Manifest]] = []
        self.compiled: Compiled | None = None
        """Compiled programs to save with the checkpoints, if any."""
        self.numerics: Numerics | None = None
        """Record that each manifest gets."""

    def checkpoint(self, cursor: Cursor, directory: Path, digests: Mapping[str, str]) -> Manifest:
        """Pack a directory as the checkpoint at `cursor` and delete the oldest ones beyond `keep_checkpoints`.

        The checkpoint is complete or absent even if the process is killed at any moment: it is built in a hidden folder
        and renamed last. Raises StageFailed `disk-full`.
        """
        self._make_room(directory)
        building = self._fresh(self.folder(cursor).name)
        blob = packing.pack(directory, building / BLOB_NAME)
        programs = self.compiled.pack(building) if self.compiled else None
        manifest = Manifest(
            run=self._order.run,
            session=self._order.session,
            attempt=self._order.attempt,
            token=self._order.token,
            cursor=cursor,
            parent=self._order.parent.digest if self._order.parent else None,
            files=(blob, programs) if programs else (blob,),
            digests=dict(digests),
            numerics=self.numerics,
        )
        packing.write_new(building / SEAL_NAME, manifest.digest.encode())
        packing.write_new(building / MANIFEST_NAME, manifest.to_json().encode())
        packing.sync_directory(building)
        self._finish(building, self.folder(cursor), manifest)
        self._show(directory / ARTIFACTS_DIRECTORY)
        self._prune(max(1, self._order.keep_checkpoints))
        return manifest

    def withdraw(self) -> Manifest | None:
        """Delete this session's newest checkpoint; returns the newest remaining one, or None."""
        self._drop(self._kept.pop()[0])
        return self._kept[-1][1] if self._kept else None

    @property
    def exports(self) -> Path:
        """Folder for exported models, which need not exist."""
        return self._root / EXPORTS_DIRECTORY

    def folder(self, cursor: Cursor) -> Path:
        """Return the path of the checkpoint at `cursor`, which need not exist."""
        return self._root.parent / checkpoint_folder(cursor)

    def report(self, report: Report) -> None:
        """Write the report atomically and remove unfinished files."""
        shutil.rmtree(self._root / UNFINISHED, ignore_errors=True)
        self._root.mkdir(parents=True, exist_ok=True)
        data = report.to_json().encode()
        (self._root / REPORT_NAME).unlink(missing_ok=True)  # a report must never stand beside another report's seal
        for name, content in ((REPORT_SEAL_NAME, seal_of(data)), (REPORT_NAME, data)):
            part = self._root / f".{name}"
            part.unlink(missing_ok=True)
            packing.write_new(part, content)
            part.replace(self._root / name)
        packing.sync_directory(self._root)

    @property
    def report_path(self) -> Path:
        """Return the path of the report, which need not exist."""
        return self._root / REPORT_NAME

    def _show(self, artifacts: Path) -> None:
        """Copy the artifacts out as plain files: the packed state cannot be opened on Kaggle's page."""
        for path in sorted(path for path in artifacts.glob("*") if path.is_file()):
            shown = self._root / ARTIFACTS_DIRECTORY
            shown.mkdir(exist_ok=True)
            part = self._fresh(ARTIFACTS_DIRECTORY) / path.name
            shutil.copyfile(path, part)
            part.replace(shown / path.name)

    def _fresh(self, name: str) -> Path:
        building = self._root / UNFINISHED / name
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        return building

    def _finish(self, building: Path, folder: Path, manifest: Manifest) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            self._drop(folder)
        building.rename(folder)
        packing.sync_directory(folder.parent)
        self._kept.append((folder, manifest))

    def _prune(self, keep: int) -> None:
        while len(self._kept) > keep:
            self._drop(self._kept.pop(0)[0])

    def _drop(self, folder: Path) -> None:
        """Rename the folder before deleting it, so that a kill in between leaves no partial checkpoint."""
        trash = self._fresh(f"dropped-{folder.name}")
        shutil.rmtree(folder.rename(trash / folder.name))

    def _make_room(self, directory: Path) -> None:
        """Delete all but the newest checkpoint if the disk cannot hold another one beside them."""
        self._root.mkdir(parents=True, exist_ok=True)
        needed_bytes = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        if shutil.disk_usage(self._root).free < needed_bytes:
            self._prune(1)
        if (free_bytes := shutil.disk_usage(self._root).free) < needed_bytes:
            raise StageFailed(
                "disk-full",
                f"a checkpoint of {needed_bytes:,} bytes does not fit into the {free_bytes:,} that are free",
            )


class FollowingOutput(Output):
    """The same folder in a process that is not its session's first: it waits for what that one writes, and writes nothing."""

    def checkpoint(self, cursor: Cursor, directory: Path, digests: Mapping[str, str]) -> Manifest:
        """Wait for the checkpoint at `cursor`, and return its manifest. Raises StageFailed `host-lost` if none appears."""
        place = self.folder(cursor) / MANIFEST_NAME
        if not _appears(lambda: place.is_file() or self.report_path.is_file(), CHECKPOINT_S_MAX) or not place.is_file():
            raise StageFailed(
                "host-lost",
                f"the first process of this session wrote no checkpoint {cursor.stage} {cursor.step}",
                transient=True,
            )
        manifest = Manifest.from_json(place.read_bytes())
        self._kept.append((place.parent, manifest))
        return manifest

    def withdraw(self) -> Manifest | None:
        """Forget this session's newest checkpoint, which the first process deletes; returns the newest remaining one."""
        self._kept.pop()
        return self._kept[-1][1] if self._kept else None

    def report(self, report: Report) -> None:
        """Wait until the first process has written its report, for a while: ending before it might end that process too."""
        _appears(self.report_path.is_file, REPORT_S_MAX)


def _appears(there: Callable[[], bool], seconds_max: float) -> bool:
    """Wait until a condition holds; returns False if it does not within so many seconds."""
    deadline_s = time.monotonic() + seconds_max
    while not there():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(LOOK_S)
    return True
