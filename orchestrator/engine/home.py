"""Paths below relay's home folder, and how its files are written: completely or not at all."""

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.base import disk
from orchestrator.base.disk import private_folder
from state.model.run_state import Session

LOG_BYTES_MAX = 256 * 2**20
"""Maximum size of one session's log on this disk, in bytes."""
LOG_CUT = b"relay: this log is too long to be kept; what came after this line is left out\n"

LINE_CHARACTERS_MAX = 2**20
"""Maximum characters read as one log line; lines that relay writes are shorter."""
COPY_BYTES = 2**20

if TYPE_CHECKING:  # read-only commands need not wait for this import
    from orchestrator.platforms.port import LogLine


def log_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a stored log; none if there is no file. A line that is too long is split.

    Stops if the disk cannot read on.
    """
    if path.exists():
        try:
            with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
                while line := file.readline(LINE_CHARACTERS_MAX):
                    yield line.removesuffix("\n")
        except OSError as error:
            if not disk.is_unread(error):
                raise


@dataclass(frozen=True)
class HomeLayout:
    """Layout of relay's home folder: `relay.db` and `runs/<run>/{checkpoints,sessions,logs,quarantine}`."""

    path: Path
    free_bytes: Callable[[Path], int] = disk.free_bytes
    """Function that returns how many bytes still fit on the disk of a folder."""
    log_bytes_max: int = LOG_BYTES_MAX
    """Maximum size of one session's log, in bytes."""

    @property
    def database(self) -> Path:
        """Database with the state of all runs."""
        return self.path / "relay.db"

    @property
    def backups(self) -> Path:
        """Folder of the database backups."""
        return self.path / "backups"

    def run(self, run: str) -> Path:
        """Folder of one run."""
        return self.path / "runs" / run

    def run_folders(self) -> list[str]:
        """Return the runs that have a folder here, whether or not the database knows them."""
        try:
            return sorted(path.name for path in (self.path / "runs").iterdir() if path.is_dir())
        except OSError:
            return []

    def checkpoint(self, run: str, name: str) -> Path:
        """Folder of one verified checkpoint: its manifest and the files that it names."""
        return self.run(run) / "checkpoints" / name

    def incoming(self, session: Session) -> Path:
        """Folder for files that are being fetched from a session."""
        return self.incoming_of(session.run, session.slug)

    def incoming_of(self, run: str, slug: str) -> Path:
        """Folder for files that are being fetched from a session, by the names of its run and kernel."""
        return self.run(run) / "sessions" / slug

    @property
    def memory_plans(self) -> Path:
        """Folder of programs that `relay plan --memory` lowered before."""
        return self.path / "memory-plans"

    def memory_plan(self, digest: str) -> Path:
        """File with the peaks that were planned for a pipeline, by its digest."""
        return self.memory_plans / f"plan-{digest}"

    @property
    def uploads(self) -> Path:
        """Folder with notes of unfinished uploads, one folder per dataset."""
        return self.path / "uploads"

    @property
    def publishing(self) -> Path:
        """Folder with notes of models that are being published, one folder per variation."""
        return self.path / "publishing"

    @property
    def daemon_log(self) -> Path:
        """Log file of the daemon, if it is asked to write one."""
        return self.path / "logs" / "daemon.log"

    def quarantine(self, run: str) -> Path:
        """Folder of damaged files kept for inspection, the newest few."""
        return self.run(run) / "quarantine"

    def artifacts(self, run: str) -> Path:
        """Folder of the artifacts of the run's newest collected checkpoint: transcripts, the hard problems."""
        return self.run(run) / "artifacts"

    def exports(self, run: str) -> Path:
        """Folder of exports that were made to be published, until they are."""
        return self.run(run) / "exports"

    def curves(self, run: str) -> Path:
        """TensorBoard folder with the files of every session of the run, one folder per stage."""
        return self.run(run) / "tensorboard"

    def inputs(self, run: str) -> Path:
        """Folder of the pipeline's own files, as they were when the run began."""
        return self.run(run) / "inputs"

    def keep_inputs(self, run: str, files: Iterable[Path]) -> None:
        """Copy the pipeline's files, so that the run goes on with the files it began with."""
        for path in files:
            shutil.copyfile(path, private_folder(self.inputs(run)) / path.name)

    def adopting(self, run: str) -> Path:
        """Folder for documents that are fetched while a run is rebuilt from what is on Kaggle."""
        return self.run(run) / "adopting"

    def log(self, session: Session) -> Path:
        """Path of a session's log: text, one entry per line."""
        return self.run(session.run) / "logs" / f"{session.slug}.log"

    def append_log(self, session: Session, lines: "Iterable[LogLine]", *, needed: bool = True) -> None:
        """Append the lines that the file lacks, as they arrive; an incomplete last line, left by a crash, is rewritten.

        A file that has reached `log_bytes_max` takes no more, and its last line says so. If the disk cannot read the
        file, OSError is raised when it is `needed`; otherwise it stays as it is, and a later call appends what it lacks
        by then.
        """
        path = self.log(session)
        private_folder(path.parent)
        try:
            lines_kept, size, incomplete, cut = _whole_lines(path)
        except OSError as error:
            if needed or not disk.is_unread(error):
                raise
            lines_kept, size, incomplete, cut = 0, 0, False, True
        fresh = (line for line in lines if line.number >= lines_kept)
        first = next(fresh, None)
        if not cut and (first is not None or incomplete):
            with path.open("r+b" if path.exists() else "wb") as file:
                file.truncate(size)
                file.seek(size)
                for line in itertools.chain([first] if first else [], fresh):
                    text = line.text.replace("\n", " ").encode("utf-8", "replace") + b"\n"
                    if size + len(text) > self.log_bytes_max:
                        file.write(LOG_CUT)
                        break
                    size += file.write(text)
        for _ in fresh:  # the caller's iterator inspects each line as it passes, so it must be exhausted
            pass

    def remove_checkpoint(self, run: str, name: str) -> None:
        """Remove a checkpoint's files; missing ones count as removed."""
        shutil.rmtree(self.checkpoint(run, name), ignore_errors=True)


def _whole_lines(path: Path) -> tuple[int, int, bool, bool]:
    """Return how many complete lines a log has, their bytes, whether an incomplete line follows, and if it was cut."""
    if not path.exists():
        return 0, 0, False, False
    count = size = whole = 0
    last = b""
    with path.open("rb") as file:
        while block := file.read(COPY_BYTES):
            count += block.count(b"\n")
            if (end := block.rfind(b"\n")) >= 0:
                whole = size + end + 1
            size += len(block)
            last = (last + block)[-len(LOG_CUT) :]
    return count, whole, size > whole, last == LOG_CUT
