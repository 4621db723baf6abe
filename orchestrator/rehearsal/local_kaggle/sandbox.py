"""Port through which the world runs pushed kernels, and a scripted implementation in which nothing really runs."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.rehearsal.local_kaggle.stored_file import Content, Files


@dataclass(frozen=True)
class SessionLine:
    """Line of a session's log, without newline; `at_s` is seconds since the session started."""

    at_s: float
    text: str
    stream: str = "stdout"


@dataclass(frozen=True, kw_only=True)
class Mount:
    """Data source of a session. `name` is owner/slug, `place` its folder below `/kaggle/input`."""

    name: str
    place: str
    files: Files


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Session to run; the world kills it after `limit_s` seconds."""

    owner: str
    slug: str
    version: int
    source: str
    is_notebook: bool = False
    """True if the source is a notebook's JSON rather than a script."""
    mounts: tuple[Mount, ...]
    limit_s: float
    started: datetime
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the image that the session runs in."""


@dataclass(frozen=True)
class Exit:
    """Exit of a session's program, by itself or by a signal that the world did not send."""

    code: int
    at_s: float


class Running(Protocol):
    """A started session. `at_s` is session time in seconds and never decreases from one call to the next."""

    def poll(self, at_s: float) -> Exit | None:
        """Return how the session ended by then, or None while it runs."""

    def log(self, at_s: float, after: int = 0) -> Sequence[SessionLine]:
        """Return the log lines written by then, without the first `after`."""

    def output(self, at_s: float) -> Files:
        """Return the files in `/kaggle/working` by then."""

    def slow(self, at_s: float) -> None:
        """Slow the session down to a tenth of its speed from now on."""

    def stall(self, at_s: float) -> None:
        """Freeze the session: from now on it neither works nor ends."""

    def kill(self, at_s: float) -> None:
        """End the session at once, without notice. Idempotent."""


class Sandbox(Protocol):
    """Starts sessions."""

    def start(self, launch: Launch) -> Running:
        """Start the exact script that was pushed."""

    def close(self) -> None:
        """End all sessions that this sandbox started and that still run."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """Script of a simulated session: when and how it ends, and what it has written by when (session time, seconds)."""

    ends_after_s: float
    exit_code: int = 0
    lines: Sequence[tuple[float, str]] = ()
    files: Sequence[tuple[float, str, bytes]] = ()
    """Tuples of (time, path, bytes); a later entry replaces an earlier one of the same path."""


Behaviour = Callable[[str, Mapping[str, Mapping[str, bytes]], float], Played]
"""Function from (source, mounts as owner/slug → path → bytes, limit in seconds) to the session's script."""


class ScriptedSandbox:
    """Plays scripted sessions on the world's clock, without processes, disk or waiting."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    def start(self, launch: Launch) -> "ScriptedSession":
        mounts = {mount.name: {path: file.read() for path, file in mount.files.items()} for mount in launch.mounts}
        return ScriptedSession(self._behaviour(launch.source, mounts, launch.limit_s), launch.started)

    def close(self) -> None:
        """Do nothing: there are no processes to end."""


class ScriptedSession:
    """A scripted session in progress."""

    def __init__(self, played: Played, started: datetime) -> None:
        self._played = played
        self._started = started
        self._lines = [SessionLine(at_s, text) for at_s, text in sorted(played.lines, key=lambda line: line[0])]
        self._times = [line.at_s for line in self._lines]
        self._frozen_at_s: float | None = None

    def poll(self, at_s: float) -> Exit | None:
        if self._frozen_at_s is not None or at_s < self._played.ends_after_s:
            return None
        return Exit(self._played.exit_code, self._played.ends_after_s)

    def log(self, at_s: float, after: int = 0) -> Sequence[SessionLine]:
        return self._lines[after : bisect_right(self._times, self._until(at_s))]

    def output(self, at_s: float) -> Files:
        until = self._until(at_s)
        written = sorted((file for file in self._played.files if file[0] <= until), key=lambda file: file[0])
        return {path: Content.of_bytes(data, self._started + timedelta(seconds=when)) for when, path, data in written}

    def slow(self, at_s: float) -> None:
        """Do nothing: a scripted session is played as written, so a slow one must be scripted as slow."""

    def stall(self, at_s: float) -> None:
        self._frozen_at_s = self._until(at_s)

    def kill(self, at_s: float) -> None:
        self.stall(at_s)

    def _until(self, at_s: float) -> float:
        ends = [at_s, self._played.ends_after_s]
        return min(ends if self._frozen_at_s is None else [*ends, self._frozen_at_s])
