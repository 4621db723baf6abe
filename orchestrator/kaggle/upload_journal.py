"""What was begun to be sent: where each blob of a dataset goes, kept on disk so that the next process sends only the rest.

An address is a permission to write: the notes are their owner's alone, are never logged, and go once the dataset is there.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.base.disk import on_disk, private_folder, write_whole
from stages.session import packing


@dataclass(frozen=True)
class Slot:
    """Where one blob goes: the token that names it afterwards, and the address to send it to."""

    token: str
    url: str


@dataclass(frozen=True)
class UploadJournal:
    """The uploads of one dataset, a note a file in `folder`, which is made when there is something to note. None: nowhere."""

    folder: Path | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    """By file name, of files that were compared byte for byte just now: they are not read once more for the note."""

    def slot(self, path: Path) -> Slot | None:
        """Where an earlier process was sending these very bytes, or None."""
        note = self._note(path)
        if note is None or not note.is_file():
            return None
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
            same = found["content"] == self._content(path)
            return Slot(str(found["token"]), str(found["url"])) if same else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # half a note, or one that cannot be read, or another relay's: the upload begins anew

    def begun(self, path: Path, slot: Slot) -> None:
        """Note where a file goes, before its first byte does."""
        note = self._note(path)
        if note is None:
            return
        text = json.dumps({"content": self._content(path), "token": slot.token, "url": slot.url})
        with on_disk(note):
            private_folder(note.parent)
            write_whole(note, text.encode())

    def begin_anew(self, path: Path) -> None:
        """Nobody answers at the address any more: the next try asks for another one."""
        note = self._note(path)
        if note is not None:
            with on_disk(note):
                note.unlink(missing_ok=True)

    def forget(self) -> None:
        """The dataset is there, or has to be begun anew: nothing is half sent any more."""
        if self.folder is not None and self.folder.exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _note(self, path: Path) -> Path | None:
        return None if self.folder is None else self.folder / f"{path.name}.json"

    def _content(self, path: Path) -> str:
        with on_disk(path):
            return f"{path.stat().st_size}:{self.sha256.get(path.name) or packing.sha256_of(path)}"
