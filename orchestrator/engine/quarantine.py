"""Keeps damaged files for inspection: the newest few of a run, and never on a full disk."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from orchestrator.base.disk import RESERVE_BYTES, full_message, private_folder
from orchestrator.base.errors import Corrupt, DiskRefused
from orchestrator.engine.home import HomeLayout
from stages.contract import Manifest
from state.facts.checkpoint import DamageFound

FILES_MAX = 8
SIZE_BYTES_MAX = 2 * 2**30
"""Maximum total size of the kept files, in bytes; a larger file is not kept."""

STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
"""Matches the time in the name of a kept file."""
NAME_CHARS_MAX = 80
PROBLEM_CHARS_MAX = 400


@dataclass
class Quarantine:
    """The folder `runs/<run>/quarantine` during one effect; `found` holds the facts that the effect records."""

    home: HomeLayout
    run: str
    at: datetime
    files_max: int = FILES_MAX
    size_bytes_max: int = SIZE_BYTES_MAX
    found: list[DamageFound] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Folder of the kept files, named `<checkpoint>.<file>.<time>`, with a number if several have the same name."""
        return self.home.quarantine(self.run)

    @contextmanager
    def watching(self, checkpoint: str, file: str, place: str) -> Iterator[Path]:
        """Yield the path where a download leaves bytes that differ; note a Corrupt error and let it propagate."""
        kept = self.place(checkpoint, file)
        try:
            yield kept
        except Corrupt as error:
            self.note(checkpoint, file, place, str(error), kept)
            raise

    def take(self, path: Path, checkpoint: str, file: str, place: str, problem: str) -> None:
        """Move a damaged local file or folder into the quarantine, and note it; any other kind of path stays."""
        kept = self.place(checkpoint, file)
        if path.is_file() or path.is_dir():
            private_folder(self.folder)
            path.replace(kept)
        self.note(checkpoint, file, place, problem, kept)

    def note(self, checkpoint: str, file: str, place: str, problem: str, kept: Path | None = None) -> None:
        """Note a damaged file; `kept` is the path where its bytes may have been kept."""
        self._tidy()
        name = kept.name if kept is not None and kept.exists() else ""
        problem = problem if len(problem) <= PROBLEM_CHARS_MAX else problem[:PROBLEM_CHARS_MAX] + "…"
        shown = file[:NAME_CHARS_MAX]
        self.found.append(DamageFound(checkpoint=checkpoint, file=shown, place=place, problem=problem, kept=name))

    def make_room(self, needed_bytes: int, folder: Path) -> None:
        """Ensure that `needed_bytes` and relay's own records fit into `folder`, deleting kept files first.

        Raises DiskRefused if that does not suffice: only the user can decide what else to delete.
        """
        wanted_bytes = needed_bytes + RESERVE_BYTES
        oldest = self._kept()
        while oldest and self.home.free_bytes(folder) < wanted_bytes:
            _remove(oldest.pop(0))
        missing_bytes = wanted_bytes - self.home.free_bytes(folder)
        if missing_bytes > 0:
            raise DiskRefused(full_message(folder, missing_bytes))

    def make_room_for(self, manifest: Manifest, into: Path) -> None:
        """Ensure that those files of a checkpoint that are not in a folder yet, going by file sizes, fit into it.

        Raises DiskRefused, like `make_room`.
        """
        missing_bytes = 0
        for entry in manifest.files:
            whole, part = into / entry.path, into / f"{entry.path}.part"
            if not whole.is_file() or whole.stat().st_size != entry.size_bytes:
                missing_bytes += max(0, entry.size_bytes - (part.stat().st_size if part.is_file() else 0))
        self.make_room(missing_bytes, into)

    def place(self, checkpoint: str, file: str) -> Path:
        """Return the path where a damaged file is kept; a later file of the same second has a higher number.

        No file sorts before one that was kept earlier, even if the clock was set back since.
        """
        flat = file.replace("/", "_")[-NAME_CHARS_MAX:]
        ages = [_age(path) for path in self._kept()]
        stamp = max([f"{self.at:%Y%m%dT%H%M%SZ}", *(at for at, _, _ in ages if STAMP.fullmatch(at))])
        last = max((number for at, number, _ in ages if at == stamp), default=0)
        return self.folder / f"{checkpoint}.{flat}.{stamp}{f'-{last + 1}' if last else ''}"

    def _kept(self) -> list[Path]:
        """Return the kept files, oldest first."""
        return sorted(self.folder.glob("*"), key=_age)

    def _tidy(self) -> None:
        kept = self._kept()
        size_bytes = sum(map(_size_bytes, kept))
        while kept and (len(kept) > self.files_max or size_bytes > self.size_bytes_max):
            oldest = kept.pop(0)
            size_bytes -= _size_bytes(oldest)
            _remove(oldest)


def _size_bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder, in bytes."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _age(path: Path) -> tuple[str, int, str]:
    """Return a sort key: when a file was kept, and its number within that second."""
    at, _, number = path.name.rpartition(".")[2].partition("-")
    return (at, int(number) if number.isdecimal() else 1, path.name)
