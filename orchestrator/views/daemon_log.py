"""Where the daemon's lines go: standard output as text or JSON, and a log file that cannot grow without bound."""

import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import click

from orchestrator.base.disk import FULL, private_folder, unless_full
from orchestrator.base.errors import BadInput
from orchestrator.base.terminal import escape_controls
from orchestrator.engine.tick import Turn
from orchestrator.views.news_filter import LEVELS, Narration, Narrator, cut

FILE_BYTES_MAX = 2**20
"""A log file is begun anew before it would grow beyond this."""

FILES_KEPT = 4
"""Older log files beside it: `daemon.log.1` is the newest of them. All five together stay below 5 MiB."""

MARGIN_BYTES = 2**16
"""More than a line has: what the rotation counts are characters."""


class DaemonLog:
    """Writes a line for each thing that happens. Safe to call from several threads; a full disk silences it and no more."""

    def __init__(
        self, now: Callable[[], datetime], *, as_json: bool = False, least: str = "info", file: Path | None = None
    ) -> None:
        self._now, self._as_json, self._least = now, as_json, LEVELS.index(least)
        self._narrator = Narrator(now)
        self._file = None if file is None else LogFile(file)

    def __call__(self, run: str, turn: Turn) -> None:
        """Tell what a turn did, if it is news."""
        for line in self._narrator.hear(run, turn):
            self.say(line)

    def notice(self, sentence: str) -> None:
        """Tell in a sentence what concerns no run alone."""
        self.say(Narration(event="notice", message=sentence, level="warning"))

    def begin(self, run: str | None, sentence: str) -> None:
        """The first line: what is carried out."""
        self.say(Narration(event="started", message=sentence, run=run))

    def end(self, problem: str = "") -> None:
        """The last line: that the daemon ends, and which problem ends it (which standard error has, too)."""
        level, sentence = ("error", problem) if problem else ("info", "stopped, as it was told to")
        self.say(Narration(event="stopped", message=sentence, level=level), print_it=self._as_json or not problem)

    def say(self, line: Narration, *, print_it: bool = True) -> None:
        """Write one line; `print_it` False: to the file only."""
        if LEVELS.index(line.level) < self._least:
            return
        at = self._now()
        text = as_json(line, at) if self._as_json else as_text(line, at)
        if print_it:
            with unless_full():
                _print(line, text, self._as_json)
        if self._file is not None:
            self._file.write(text)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def _print(line: Narration, text: str, as_json: bool) -> None:
    if line.event == "notice" and not as_json:
        click.echo(f"relay: {line.message}", err=True)
    else:
        click.echo(text)
        sys.stdout.flush()


def as_text(line: Narration, at: datetime) -> str:
    """The line for a person: time, run, sentence."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}  {line.run or 'relay'}  {escape_controls(' '.join(line.message.split()))}"


def as_json(line: Narration, at: datetime) -> str:
    """The line for a program: one JSON object with the keys that docs/daemon.md describes."""
    document: dict[str, Any] = {
        "time": at.isoformat(timespec="milliseconds"),
        "level": line.level,
        "run": line.run,
        "session": line.session,
        "event": line.event,
        "message": cut(line.message),
        "data": line.data,
    }
    return escape_controls(json.dumps(document))


class LogFile:
    """A file of lines that only its owner reads, begun anew when it is large; what cannot be written is left out."""

    def __init__(self, path: Path) -> None:
        try:
            private_folder(path.parent)
            self._handler = _Handler(path)
        except OSError as error:
            why = error.strerror or error
            raise BadInput(f"{path} cannot be written ({why}): name another file with --log-file") from error

    def write(self, text: str) -> None:
        """Add a line."""
        self._handler.handle(logging.LogRecord("relay", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Let go of the file; what its full disk did not take is lost."""
        with unless_full():
            self._handler.close()


class _Handler(RotatingFileHandler):
    def __init__(self, path: Path) -> None:
        self._complained = False
        super().__init__(path, maxBytes=FILE_BYTES_MAX - MARGIN_BYTES, backupCount=FILES_KEPT, encoding="utf-8")

    def _open(self) -> TextIO:  # type: ignore[override]
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        file = os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")
        if (path := Path(self.baseFilename)).is_file():
            path.chmod(0o600)  # a file that was there keeps its mode otherwise
        return file

    def handleError(self, record: logging.LogRecord) -> None:
        """A log that cannot be written must not end what it tells of; that is said once, where there is somebody to hear it."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif error.errno not in FULL and not self._complained:
            self._complained = True
            with unless_full():
                click.echo(f"relay: {self.baseFilename} cannot be written ({error.strerror})", err=True)
