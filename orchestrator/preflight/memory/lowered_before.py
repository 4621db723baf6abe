"""Keeps what was lowered, so that planning the same programs again takes no time."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.base.disk import ignore_full_disk, private_folder, write_whole

VERSIONS_OF = ("jax", "jaxlib", "flax", "optax", "qwix", "google-tunix")
ROOT = Path(__file__).parents[3]
SOURCES = ("stages", "orchestrator/preflight/memory")
"""Folders whose modules decide what is lowered, and how."""
ANSWERS_MAX = 500
"""Number of answers that are kept; each has about a kilobyte."""


class LoweredBefore:
    """Answers by everything that they depend on: program, rows, model, mesh, flags, versions and relay's own sources."""

    def __init__(self, folder: Path, source: str) -> None:
        """`source` is the model's: a folder on this machine counts with the sizes and times of its files."""
        self.folder, self._source = folder, source

    def get(self, key: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """Return the answers for this key; None if there are none, or if their file cannot be read."""
        try:
            found: list[dict[str, Any]] = json.loads(self._path(key).read_bytes())["answers"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found

    def keep(self, key: Mapping[str, Any], answers: list[dict[str, Any]]) -> None:
        """Keep the answers; does nothing if the disk is full."""
        with ignore_full_disk():
            private_folder(self.folder)
            kept = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
            for path in kept[: max(0, len(kept) + 1 - ANSWERS_MAX)]:
                path.unlink(missing_ok=True)
            write_whole(self._path(key), json.dumps({"key": key, "answers": answers}).encode())

    def _path(self, key: Mapping[str, Any]) -> Path:
        text = json.dumps([key, self._surroundings], sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"

    @cached_property
    def _surroundings(self) -> list[Any]:
        versions = {name: importlib.metadata.version(name) for name in VERSIONS_OF}
        digest = hashlib.sha256()
        for path in sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
        files = []
        if self._source.startswith(("/", ".")):
            folder = Path(self._source)
            files = [
                [str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns]
                for path in sorted([*folder.glob("*"), *folder.glob("*/*")])
                if path.is_file()
            ]
        return [versions, digest.hexdigest(), files]
