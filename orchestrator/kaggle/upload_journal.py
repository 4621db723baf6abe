"""Journal of a dataset's uploads, kept on disk so that the next process sends only what is missing.

An upload URL grants write access: entries are readable by their owner only, are never logged, and are deleted once the
dataset exists.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.base.disk import disk_errors, private_folder, write_whole
from stages.session import packing


@dataclass(frozen=True)
class Slot:
    """Destination of one blob: the token that identifies it afterwards, and the URL to upload it to."""

    token: str
    url: str


@dataclass(frozen=True)
class UploadJournal:
    """Uploads of one dataset, one entry per file in `folder`, which is created on demand. None: no journal."""

    folder: Path | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by file name, for files that the caller has just verified, so that they are not hashed again."""

    def slot(self, path: Path) -> Slot | None:
        """Return the destination to which an earlier process was uploading the same bytes, or None."""
        note = self._note(path)
        if note is None or not note.is_file():
            return None
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
            same = found["content"] == self._content(path)
            return Slot(str(found["token"]), str(found["url"])) if same else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # a truncated, unreadable or foreign entry: the upload starts over

    def begun(self, path: Path, slot: Slot) -> None:
        """Record a file's destination before its first byte is sent."""
        note = self._note(path)
        if note is None:
            return
        text = json.dumps({"content": self._content(path), "token": slot.token, "url": slot.url})
        with disk_errors(note):
            private_folder(note.parent)
            write_whole(note, text.encode())

    def begin_anew(self, path: Path) -> None:
        """Delete a file's entry because its upload URL no longer answers: the next attempt requests a new one."""
        note = self._note(path)
        if note is not None:
            with disk_errors(note):
                note.unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete all entries: the dataset exists, or its uploads have to start over."""
        if self.folder is not None and self.folder.exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _note(self, path: Path) -> Path | None:
        return None if self.folder is None else self.folder / f"{path.name}.json"

    def _content(self, path: Path) -> str:
        with disk_errors(path):
            return f"{path.stat().st_size}:{self.sha256.get(path.name) or packing.sha256_of(path)}"
