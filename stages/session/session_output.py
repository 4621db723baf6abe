"""What a session leaves for the laptop: the report and the newest checkpoints, each whole or absent."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from stages.contract import (
    ARTIFACTS_DIRECTORY,
    BLOB_NAME,
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
from stages.session import packing
from stages.session.compilation_cache import Compiled
from stages.stage import StageFailed

UNFINISHED = ".unfinished"
"""On the same file system as what is finished, so that a rename ends it; hidden, so that no reader takes it for finished."""


class Output:
    """The folder `relay` below `/kaggle/working`."""

    def __init__(self, working: Path, order: Order) -> None:
        self._root = working / OUTPUT_DIRECTORY
        self._order = order
        self._kept: list[tuple[Path, Manifest]] = []
        self.compiled: Compiled | None = None
        """Programs that ride along with the checkpoints."""

    def checkpoint(self, cursor: Cursor, directory: Path, digests: Mapping[str, str]) -> Manifest:
        """Pack a directory as the checkpoint at `cursor` and drop the oldest of this session.

        Whole or absent, also if the process is killed at any moment: made in a hidden folder and renamed last.
        Raises StageFailed `disk-full`.
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
        )
        packing.write_new(building / SEAL_NAME, manifest.digest.encode())
        packing.write_new(building / MANIFEST_NAME, manifest.to_json().encode())
        packing.sync_directory(building)
        self._finish(building, self.folder(cursor), manifest)
        self._show(directory / ARTIFACTS_DIRECTORY)
        self._prune(max(1, self._order.keep_checkpoints))
        return manifest

    def withdraw(self) -> Manifest | None:
        """Drop the newest checkpoint of this session; the answer is the one that is the newest now, None where none is left."""
        self._drop(self._kept.pop()[0])
        return self._kept[-1][1] if self._kept else None

    def folder(self, cursor: Cursor) -> Path:
        """Where the checkpoint at `cursor` is or would be."""
        return self._root.parent / checkpoint_folder(cursor)

    def report(self, report: Report) -> None:
        """Leave the report, whole, and nothing unfinished."""
        shutil.rmtree(self._root / UNFINISHED, ignore_errors=True)
        self._root.mkdir(parents=True, exist_ok=True)
        data = report.to_json().encode()
        (self._root / REPORT_NAME).unlink(missing_ok=True)  # never beside the seal of another one
        for name, content in ((REPORT_SEAL_NAME, seal_of(data)), (REPORT_NAME, data)):
            part = self._root / f".{name}"
            part.unlink(missing_ok=True)
            packing.write_new(part, content)
            part.replace(self._root / name)
        packing.sync_directory(self._root)

    def _show(self, artifacts: Path) -> None:
        """Leave what people may want to read as plain files too: nobody opens a packed state on Kaggle's page."""
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
        """Renamed away first, so that a kill in between leaves no half checkpoint."""
        grave = self._fresh(f"dropped-{folder.name}")
        shutil.rmtree(folder.rename(grave / folder.name))

    def _make_room(self, directory: Path) -> None:
        """Where the disk cannot hold one more checkpoint beside the kept ones, keep only the newest meanwhile."""
        self._root.mkdir(parents=True, exist_ok=True)
        needed_bytes = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        if shutil.disk_usage(self._root).free < needed_bytes:
            self._prune(1)
        if (free_bytes := shutil.disk_usage(self._root).free) < needed_bytes:
            raise StageFailed(
                "disk-full",
                f"a checkpoint of {needed_bytes:,} bytes does not fit into the {free_bytes:,} that are free",
            )
