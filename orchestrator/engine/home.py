"""Where things lie below relay's home folder, and how they are written: whole or not at all."""

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.base import disk
from orchestrator.base.disk import private_folder
from state.model import Session

LOG_BYTES_MAX = 256 * 2**20
"""Of one session's log on this disk."""
LOG_CUT = b"relay: this log is too long to be kept; what came after this line is left out\n"

LINE_CHARACTERS_MAX = 2**20
"""More than a line of a log has that relay wrote."""
COPY_BYTES = 2**20

if TYPE_CHECKING:  # a command that only looks need not wait for it
    from orchestrator.kaggle.gateway import LogLine


def log_lines(path: Path) -> Iterator[str]:
    """The lines of a stored log, whatever became of the file; empty where there is none. A line that is too long is several.

    Where the disk does not give it back, it ends.
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
    """The folder that holds relay's state: `relay.db` and `runs/<run>/{checkpoints,sessions,logs,quarantine}`."""

    path: Path
    free_bytes: Callable[[Path], int] = disk.free_bytes
    """How much more fits onto the disk of a folder."""
    log_bytes_max: int = LOG_BYTES_MAX
    """Of one session's log."""

    @property
    def database(self) -> Path:
        """What relay knows of its runs."""
        return self.path / "relay.db"

    @property
    def backups(self) -> Path:
        """Copies of the database."""
        return self.path / "backups"

    def run(self, run: str) -> Path:
        """Everything of one run."""
        return self.path / "runs" / run

    def run_folders(self) -> list[str]:
        """The runs that have a folder here, whether the database knows them or not."""
        try:
            return sorted(path.name for path in (self.path / "runs").iterdir() if path.is_dir())
        except OSError:
            return []

    def checkpoint(self, run: str, name: str) -> Path:
        """One verified checkpoint: its manifest and the files that it names."""
        return self.run(run) / "checkpoints" / name

    def incoming(self, session: Session) -> Path:
        """What is being fetched from a session."""
        return self.incoming_of(session.run, session.slug)

    def incoming_of(self, run: str, slug: str) -> Path:
        """The same by the names of the run and of the session's kernel."""
        return self.run(run) / "sessions" / slug

    @property
    def uploads(self) -> Path:
        """Where it is noted what was begun to be sent, a folder a dataset."""
        return self.path / "uploads"

    @property
    def daemon_log(self) -> Path:
        """What the daemon tells, where it is asked to write that down too."""
        return self.path / "logs" / "daemon.log"

    def quarantine(self, run: str) -> Path:
        """Damaged files that were kept for a person to look at, the newest few."""
        return self.run(run) / "quarantine"

    def artifacts(self, run: str) -> Path:
        """What the run's stages wrote for people, as of its newest collected checkpoint: transcripts, the hard problems."""
        return self.run(run) / "artifacts"

    def curves(self, run: str) -> Path:
        """TensorBoard's files of every session of the run, a folder a stage."""
        return self.run(run) / "tensorboard"

    def inputs(self, run: str) -> Path:
        """The pipeline's own files, as they were when the run began."""
        return self.run(run) / "inputs"

    def keep_inputs(self, run: str, files: Iterable[Path]) -> None:
        """Copy the pipeline's files, so that the run goes on with what it began with."""
        for path in files:
            shutil.copyfile(path, private_folder(self.inputs(run)) / path.name)

    def adopting(self, run: str) -> Path:
        """Documents that are fetched while a run is made again from what is on Kaggle."""
        return self.run(run) / "adopting"

    def log(self, session: Session) -> Path:
        """A session's log as text, a line each."""
        return self.run(session.run) / "logs" / f"{session.slug}.log"

    def append_log(self, session: Session, lines: "Iterable[LogLine]", *, needed: bool = True) -> None:
        """Add the lines that the file lacks, as they come; a half-written last line, left by a crash, is written again.

        A file that has `log_bytes_max` bytes takes no more, and says so in its last line. One that the disk does not give back
        raises OSError where it is `needed`, else it stays as it is, and a later call adds what it lacks by then.
        """
        path = self.log(session)
        private_folder(path.parent)
        try:
            lines_kept, size, half, cut = _whole_lines(path)
        except OSError as error:
            if needed or not disk.is_unread(error):
                raise
            lines_kept, size, half, cut = 0, 0, False, True
        fresh = (line for line in lines if line.number >= lines_kept)
        first = next(fresh, None)
        if not cut and (first is not None or half):
            with path.open("r+b" if path.exists() else "wb") as file:
                file.truncate(size)
                file.seek(size)
                for line in itertools.chain([first] if first else [], fresh):
                    text = line.text.replace("\n", " ").encode("utf-8", "replace") + b"\n"
                    if size + len(text) > self.log_bytes_max:
                        file.write(LOG_CUT)
                        break
                    size += file.write(text)
        for _ in fresh:  # whoever hands the lines over looks at each of them as it passes
            pass

    def remove_checkpoint(self, run: str, name: str) -> None:
        """Remove a checkpoint's files; absent ones count as removed."""
        shutil.rmtree(self.checkpoint(run, name), ignore_errors=True)


def _whole_lines(path: Path) -> tuple[int, int, bool, bool]:
    """Of a log: its whole lines and their bytes, whether half a line follows them, and whether it was cut for its size."""
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
