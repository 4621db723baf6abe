"""Run real sessions one after the other: each pushed script in its own process, with its parent checkpoint mounted."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kaggle_kernels import build
from orchestrator.base.clock import SystemClock
from orchestrator.base.errors import Permanent
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox, ProcessSession, compile_cache
from orchestrator.rehearsal.local_kaggle.sandbox import Launch, Mount, SessionLine
from orchestrator.rehearsal.local_kaggle.stored_file import Content, Files
from orchestrator.rehearsal.verify.cuts import CutKind, SessionCut
from stages.contract import OUTPUT_DIRECTORY, REPORT_NAME, Cursor, Order, Report
from stages.session import packing, parent_checkpoint, tracing
from stages.session.parent_checkpoint import MountedCheckpoint
from stages.session.session_output import Output

OWNER = "verify"
POLL_S = 0.001
"""Poll interval, in seconds, for a session that is to be killed; a tenth of the step time of a tiny model."""
WORDS_LINES = 8
"""Number of log lines shown of a failed session."""


@dataclass(frozen=True)
class SessionLeftovers:
    """Output of a session. `report` is None if it was killed."""

    folder: Path
    working: Path
    report: Report | None
    steps: tracing.Steps
    checkpoints: tuple[MountedCheckpoint, ...]
    """Checkpoints that verify, in the order of the run."""

    @property
    def newest(self) -> MountedCheckpoint | None:
        """Newest checkpoint, from which the next session resumes; None if there is none."""
        return self.checkpoints[-1] if self.checkpoints else None

    def at(self, cursor: Cursor) -> MountedCheckpoint | None:
        """Return the checkpoint at a cursor, or None."""
        return next((found for found in self.checkpoints if found.manifest.cursor == cursor), None)


class SessionProcesses:
    """Runs sessions below a folder, all with the same mounts and environment. Closing it ends any that still run."""

    def __init__(self, root: Path, inputs: Sequence[Mount], environment: Mapping[str, str]) -> None:
        self._root = root.resolve()
        self._inputs = tuple(inputs)
        self._clock = SystemClock()
        # sharing compiled programs is safe: the comparison covers results, not compilation
        shared = compile_cache(self._root / "compile-cache")
        self._sandbox = ProcessSandbox(self._root, self._clock, {**shared, **environment})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sandbox.close()

    def run(
        self, order: Order, parent: MountedCheckpoint | None, cut: SessionCut | None = None, step_s: float = 0.0
    ) -> SessionLeftovers:
        """Run a session until it ends or is killed as `cut` says; `step_s` is the stage's step time in seconds.

        Raises Permanent if the session failed.
        """
        folder = self._root / OWNER / order.slug / "v1" / "kaggle"
        session = self._sandbox.start(self._launch(order, parent))
        if cut is not None and cut.how.kills and self._reaches(session, _kill_signal(cut, order, folder), cut, step_s):
            session.kill(0.0)
        else:
            self._wait(session)
            _raise_if_failed(folder, order, session.log(0.0))
        return _read_output(folder, order)

    def _launch(self, order: Order, parent: MountedCheckpoint | None) -> Launch:
        name = order.parent.name if order.parent else ""
        own = (
            (Mount(name=f"{OWNER}/{name}", place=f"datasets/{OWNER}/{name}", files=self._files(parent)),)
            if parent
            else ()
        )
        return Launch(
            owner=OWNER,
            slug=order.slug,
            version=1,
            source=build.script(order),
            mounts=(*self._inputs, *own),
            limit_s=order.limit_s,
            started=self._clock.now(),
        )

    def _files(self, parent: MountedCheckpoint) -> Files:
        paths = [path for path in sorted(parent.folder.rglob("*")) if path.is_file()]
        now = self._clock.now()
        return {path.relative_to(parent.folder).as_posix(): Content.of_path(path, now) for path in paths}

    def _wait(self, session: ProcessSession) -> None:
        while session.poll(0.0) is None:
            self._clock.sleep(10 * POLL_S)

    def _reaches(self, session: ProcessSession, moment: "Signal", cut: SessionCut, step_s: float) -> bool:
        """Wait for the moment of a kill. Return False if the session ended before."""
        while not moment.has_come():
            if session.poll(0.0) is not None:
                return False
            self._clock.sleep(POLL_S)
        if cut.how is CutKind.KILL:
            self._clock.sleep(cut.share * step_s)
        return session.poll(0.0) is None


@dataclass
class Signal:
    """An event to wait for: a file or folder appears or, with `line`, a trace reaches a step."""

    path: Path
    line: tuple[str, int] | None = None
    _size_bytes: int = -1

    def has_come(self) -> bool:
        """Return True once the event happened. Cheap enough to call in a tight loop."""
        if self.line is None or not self.path.exists():
            return self.line is None and self.path.exists()
        size_bytes = self.path.stat().st_size
        if size_bytes == self._size_bytes:
            return False
        self._size_bytes = size_bytes
        return self.line in tracing.read(self.path)


def _kill_signal(cut: SessionCut, order: Order, folder: Path) -> Signal:
    """Return the event after which to kill. A KILL waits for the save before it, to hit the step and not the save."""
    if cut.how is CutKind.AFTER_SAVE or (cut.how is CutKind.KILL and cut.saved == cut.at):
        return Signal(Output(folder / "working", order).folder(cut.at))
    return Signal(tracing.path_of(folder / "working"), (cut.at.stage, cut.at.step))


def _read_output(folder: Path, order: Order) -> SessionLeftovers:
    working = folder / "working"
    report = working / OUTPUT_DIRECTORY / REPORT_NAME
    return SessionLeftovers(
        folder=folder,
        working=working,
        report=Report.from_json(report.read_bytes()) if report.exists() else None,
        steps=tracing.read(tracing.path_of(working)),
        checkpoints=tuple(sorted(_verified(parent_checkpoint.find(working)), key=lambda found: _place(order, found))),
    )


def _verified(checkpoints: Iterable[MountedCheckpoint]) -> list[MountedCheckpoint]:
    found = []
    for checkpoint in checkpoints:
        try:
            packing.verify(checkpoint.folder, checkpoint.manifest)
        except packing.CorruptCheckpoint:
            continue  # like the daemon: resume from an older one
        found.append(checkpoint)
    return found


def _place(order: Order, found: MountedCheckpoint) -> tuple[int, int]:
    cursor = found.manifest.cursor
    return parent_checkpoint.position(order, cursor.stage, cursor.step)


def _raise_if_failed(folder: Path, order: Order, log: Sequence[SessionLine]) -> None:
    path = folder / "working" / OUTPUT_DIRECTORY / REPORT_NAME
    if path.exists() and (report := Report.from_json(path.read_bytes())).outcome != "failed":
        return
    why = f"{report.cause}: {report.reason}" if path.exists() else "it left no report"
    words = [line.text for line in log if not line.text.startswith("@relay ")][-WORDS_LINES:]
    raise Permanent("\n  ".join([f"session {order.session} of {order.run} failed, {why}; its log ends with:", *words]))


def tidy(left: SessionLeftovers) -> None:
    """Delete what a session left on disk."""
    shutil.rmtree(left.folder, ignore_errors=True)
