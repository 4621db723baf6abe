"""An account on Kaggle held in memory, and a run's home folder: what the engine's verdicts are tested with."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from orchestrator.base.errors import Corrupt
from orchestrator.engine.home import HomeLayout
from orchestrator.engine.quarantine import Quarantine
from orchestrator.kaggle.gateway import Gateway
from orchestrator.platforms.port import (
    DatasetFile,
    DatasetSeen,
    Downloaded,
    FileWanted,
    KernelFound,
    KernelPush,
    KernelPushed,
    KernelsPage,
    OutputFile,
    SessionSeen,
    Worker,
)
from stages.contract import MANIFEST_NAME, SEAL_NAME, FileEntry, Manifest, checkpoint_folder, seal_of
from tests.unit.core.situations import NOW, RUN

STATE = b"the state"
ENTRY = FileEntry(path="state.bin", size_bytes=len(STATE), sha256=hashlib.sha256(STATE).hexdigest())


@dataclass
class SmallKaggle:
    """Files of a session's output and of datasets, and kernels by name; remembers what was asked to change."""

    files: dict[str, bytes] = field(default_factory=dict)
    datasets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    kernels: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    pushed: list[str] = field(default_factory=list)
    label: str = "Kaggle"
    abreast_max: int = 1
    can_stop: bool = False

    @property
    def gateway(self) -> Gateway:
        """The account as the engine sees it; what these tests need no answer of is missing."""
        return cast(Gateway, self)

    def output(self, slug: str, version: int | None) -> tuple[OutputFile, ...]:
        return tuple(OutputFile(name=name, url=name) for name in self.files)

    def download(self, file: OutputFile, into: Path, wanted: FileWanted) -> Downloaded:
        return _written(self.files[file.name], into, wanted)

    def find_dataset(self, slug: str) -> DatasetSeen | None:
        if slug not in self.datasets:
            return None
        files = tuple(DatasetFile(name=name, size_bytes=len(data)) for name, data in self.datasets[slug].items())
        says = self.descriptions.get(slug, "")
        return DatasetSeen(ref=f"me/{slug}", version=1, status="ready", private=True, files=files, description=says)

    def download_dataset_file(self, slug: str, name: str, into: Path, wanted: FileWanted) -> Downloaded:
        return _written(self.datasets[slug][name], into, wanted)

    def delete_dataset(self, slug: str) -> None:
        self.deleted.append(slug)
        self.datasets.pop(slug, None)

    def find_kernel(self, slug: str) -> KernelFound | None:
        source = self.kernels.get(slug)
        return None if source is None else KernelFound(ref=f"me/{slug}", version=1, source=source)

    def session(self, slug: str, version: int | None) -> SessionSeen:
        return SessionSeen(worker=Worker.RUNNING)

    def recent_kernels(self, page: str | None = None) -> KernelsPage:
        return KernelsPage()

    def list_kernels(self, prefix: str) -> tuple[str, ...]:
        return tuple(sorted(slug for slug in self.kernels if slug.startswith(prefix)))

    def push(self, kernel: KernelPush) -> KernelPushed:
        self.pushed.append(kernel.slug)
        return KernelPushed(ref=f"me/{kernel.slug}", version=1)

    def leave(self, manifest: Manifest, state: bytes = STATE) -> None:
        """A session leaves a checkpoint in its output, sealed as sessions do."""
        folder, data = checkpoint_folder(manifest.cursor), manifest.to_json().encode()
        self.files |= {
            f"{folder}/{MANIFEST_NAME}": data,
            f"{folder}/{SEAL_NAME}": seal_of(data),
            f"{folder}/{ENTRY.path}": state,
        }


def _written(data: bytes, into: Path, wanted: FileWanted) -> Downloaded:
    sha256 = hashlib.sha256(data).hexdigest()
    if problem := wanted.problem(len(data), sha256):
        raise Corrupt(problem)
    into.write_bytes(data)
    return Downloaded(path=into, size_bytes=len(data), sha256=sha256)


def home_of(folder: Path) -> HomeLayout:
    """A home folder on a disk with room."""
    return HomeLayout(folder, free_bytes=lambda _path: 10**15)


def quarantine_of(home: HomeLayout) -> Quarantine:
    """The run's quarantine."""
    return Quarantine(home, RUN, NOW)


def log(home: HomeLayout, session: Any, *lines: str) -> None:
    """A session's log on this disk."""
    path = home.log(session)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
