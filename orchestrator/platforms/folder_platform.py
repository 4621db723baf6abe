"""The part of `Platform` that all platforms with a folder share: sessions, logs, outputs and datasets as files in it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from kaggle_kernels import build
from orchestrator.base.errors import Corrupt, Permanent, Transient
from orchestrator.platforms.file_names import output_file
from orchestrator.platforms.folder_transfer import fetch, sha256_of
from orchestrator.platforms.log_lines import lines_in
from orchestrator.platforms.port import (
    SOURCES_NOT_ACCEPTED,
    DatasetFile,
    DatasetSeen,
    Downloaded,
    FileWanted,
    KernelFound,
    KernelListed,
    KernelPush,
    KernelPushed,
    KernelsPage,
    LogLine,
    OutputFile,
    Quota,
    Reached,
    SessionSeen,
    ignore_progress,
)
from orchestrator.platforms.shared_folder import SharedFolder
from orchestrator.platforms.shell_host import ShellHost

FOLLOW_S = 2.0
"""Seconds between two looks at a log that is followed."""


class FolderPlatform(ABC):
    """A user's account on a host with a folder. Safe to use from several threads; every call runs commands of its own.

    A platform adds how sessions start, are seen and are stopped.
    """

    def __init__(self, host: ShellHost, root: str, sleep: Callable[[float], None]) -> None:
        self._host = host
        self._folder = SharedFolder(host, root)
        self._sleep = sleep

    @property
    @abstractmethod
    def label(self) -> str:
        """Return the platform's name in sentences. See `Platform.label`."""

    @property
    def abreast_max(self) -> int:
        return 2

    @property
    def can_stop(self) -> bool:
        return True

    @abstractmethod
    def owner(self) -> str:
        """Return the account. See `Platform.owner`."""

    @abstractmethod
    def push(self, kernel: KernelPush) -> KernelPushed:
        """Start one session. See `Platform.push`."""

    @abstractmethod
    def stop(self, slug: str, version: int | None) -> None:
        """End a session. See `Platform.stop`."""

    @abstractmethod
    def session(self, slug: str, version: int | None) -> SessionSeen:
        """Return the status of a session. See `Platform.session`."""

    @abstractmethod
    def log_name(self, slug: str) -> str | None:
        """Return the name of the log in a session's folder, or None as long as nothing runs it."""

    def quota(self, accelerator: str) -> Quota | None:
        """Return None: neither a scheduler nor a machine has a quota that relay counts."""
        return None

    # --- sessions ---------------------------------------------------------------

    def find_kernel(self, slug: str) -> KernelFound | None:
        source = self._folder.source(slug)
        return None if source is None else KernelFound(ref=self._ref(slug), version=1, source=source)

    def list_kernels(self, prefix: str) -> tuple[str, ...]:
        return self._names(self._folder.sessions, prefix)

    def recent_kernels(self, page: str | None = None) -> KernelsPage:
        found = self._folder.names(self._folder.sessions)
        return KernelsPage(
            kernels=tuple(KernelListed(slug=name, ran_at=datetime.fromtimestamp(at, UTC)) for at, name in found)
        )

    def _require_size(self, kernel: KernelPush) -> None:
        if len(kernel.source.encode()) >= build.SIZE_BYTES_MAX:
            raise Permanent(f"the source of {kernel.slug} is too large: relay keeps to {build.SIZE_BYTES_MAX:,} bytes")

    def _mounts(self, kernel: KernelPush) -> dict[str, PurePosixPath]:
        """Return what to show below the session's `input`, by name. Raises Permanent for what is not there."""
        wanted = {ref: self._folder.datasets / ref.rpartition("/")[2] / "files" for ref in kernel.dataset_sources}
        wanted |= {ref: self._folder.sessions / ref.rpartition("/")[2] / "working" for ref in kernel.kernel_sources}
        missing = [ref for ref, folder in wanted.items() if self._folder.files(folder) is None]
        if missing := [*missing, *kernel.model_sources]:
            raise Permanent(
                f"{self._folder.root} {SOURCES_NOT_ACCEPTED} of {kernel.slug}: {', '.join(missing)} is not there; nothing was started"
            )
        return {ref.rpartition("/")[2]: folder for ref, folder in wanted.items()}

    # --- logs and output --------------------------------------------------------

    def log(self, slug: str, version: int | None) -> Iterator[LogLine]:
        path, ended = self._log_path(slug), self.session(slug, version).worker.terminal
        if path is not None:
            with self._host.reading("cat", str(path)) as stream:
                yield from lines_in(stream, whole=ended)

    def follow_log(self, slug: str, version: int | None, seen: int = 0) -> Iterator[LogLine]:
        while True:
            ended = self.session(slug, version).worker.terminal
            for line in self.log(slug, version):
                if line.number >= seen:
                    seen = line.number + 1
                    yield line
            if ended:
                return
            self._sleep(FOLLOW_S)

    def _log_path(self, slug: str) -> PurePosixPath | None:
        """Return the log of what runs the session; None while it has none."""
        name, folder = self.log_name(slug), self._folder.sessions / slug
        there = self._folder.files(folder) or () if name else ()
        return folder / str(name) if any(file.name == name for file in there) else None

    def output(self, slug: str, version: int | None) -> tuple[OutputFile, ...]:
        folder = self._folder.sessions / slug / "working"
        return tuple(output_file(file.name, f"{folder}/{file.name}") for file in self._folder.files(folder) or ())

    def download(self, file: OutputFile, into: Path, wanted: FileWanted) -> Downloaded:
        if file.refused:
            raise Corrupt(file.refused)
        return fetch(self._host, PurePosixPath(file.url), into, wanted)

    # --- datasets ---------------------------------------------------------------

    def find_dataset(self, slug: str) -> DatasetSeen | None:
        found = self._folder.files(self._folder.datasets / slug / "files")
        if found is None:
            return None
        return DatasetSeen(
            ref=self._ref(slug),
            version=1,
            status="ready",
            private=True,
            files=tuple(DatasetFile(name=file.name, size_bytes=file.size_bytes) for file in found),
            description=self._folder.description(slug),
        )

    def list_datasets(self, prefix: str) -> tuple[str, ...]:
        return self._names(self._folder.datasets, prefix)

    def send_ahead(self, slug: str, file: Path, sha256: str) -> None:
        self._folder.prepare()
        self._folder.send(slug, file)

    def create_dataset(
        self,
        slug: str,
        files: Sequence[Path],
        sha256: Mapping[str, str] | None = None,
        description: str = "",
        reached: Reached = ignore_progress,
    ) -> None:
        self._folder.prepare()
        wanted = {path.name: (sha256 or {}).get(path.name) or sha256_of(path) for path in files}
        there = self._folder.sent(slug)
        for path in files:
            if there.get(path.name) != wanted[path.name]:
                self._folder.send(slug, path)
            reached(path.name, path.stat().st_size)
        arrived = self._folder.sent(slug)
        if wrong := [name for name, digest in wanted.items() if arrived.get(name) != digest]:
            raise Transient(f"{', '.join(wrong)} of {slug} arrived damaged in {self._folder.datasets}")
        self._folder.publish(slug, tuple(wanted), description)

    def download_dataset_file(self, slug: str, name: str, into: Path, wanted: FileWanted) -> Downloaded:
        return fetch(self._host, self._folder.datasets / slug / "files" / name, into, wanted)

    def delete_dataset(self, slug: str) -> None:
        self._folder.delete(slug)

    # --- names ------------------------------------------------------------------

    def _names(self, folder: PurePosixPath, prefix: str) -> tuple[str, ...]:
        return tuple(sorted(name for _, name in self._folder.names(folder) if name.startswith(prefix)))

    def _ref(self, slug: str) -> str:
        return f"{self.owner()}/{slug}"
