"""Output of the daemon's log: standard output as text or JSON, and a rotated log file of bounded size."""

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

from orchestrator.base.disk import FULL, ignore_full_disk, private_folder
from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import log_time
from orchestrator.base.terminal import escape_controls
from orchestrator.engine.tick import TickResult
from orchestrator.views.news_filter import LEVELS, Narration, Narrator, truncate_line

FILE_BYTES_MAX = 2**20
"""Size limit of one log file; it is rotated before it would grow beyond this."""

FILES_KEPT = 4
"""Number of rotated files that are kept; `daemon.log.1` is the newest. All five files together stay below 5 MiB."""

MARGIN_BYTES = 2**16
"""Headroom for one line: RotatingFileHandler counts characters, not bytes."""


class DaemonLog:
    """Writes one line per event. Thread-safe. A full disk silences it and has no other effect."""

    def __init__(
        self, now: Callable[[], datetime], *, as_json: bool = False, least: str = "info", file: Path | None = None
    ) -> None:
        self._now, self._as_json, self._least = now, as_json, LEVELS.index(least)
        self._narrator = Narrator(now)
        self._file = None if file is None else LogFile(file)

    def __call__(self, run: str, tick: TickResult) -> None:
        """Log what is new in a tick."""
        for line in self._narrator.hear(run, tick):
            self.say(line)

    def notice(self, sentence: str) -> None:
        """Log a warning that concerns no single run."""
        self.say(Narration(event="notice", message=sentence, level="warning"))

    def begin(self, run: str | None, sentence: str) -> None:
        """Log the first line: the runs that are executed."""
        self.say(Narration(event="started", message=sentence, run=run))

    def end(self, problem: str = "") -> None:
        """Log the last line: the daemon ends, because of `problem` if given. Standard error shows the problem too."""
        level, sentence = ("error", problem) if problem else ("info", "stopped on request")
        self.say(Narration(event="stopped", message=sentence, level=level), print_it=self._as_json or not problem)

    def say(self, line: Narration, *, print_it: bool = True) -> None:
        """Write one line; with `print_it` False to the file only."""
        if LEVELS.index(line.level) < self._least:
            return
        at = self._now()
        text = as_json(line, at) if self._as_json else as_text(line, at)
        if print_it:
            with ignore_full_disk():
                _print(line, text, self._as_json)
        if self._file is not None:
            self._file.write(text)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _print(line: Narration, text: str, as_json: bool) -> None:
    if line.event == "notice" and not as_json:
        click.echo(f"relay: {line.message}", err=True)
    else:
        click.echo(text)
        sys.stdout.flush()


def as_text(line: Narration, at: datetime) -> str:
    """Format a line for a person: time, run, sentence."""
    return f"{log_time(at)}  {line.run or 'relay'}  {escape_controls(' '.join(line.message.split()))}"


def as_json(line: Narration, at: datetime) -> str:
    """Format a line for a program: one JSON object with the keys that docs/daemon.md describes."""
    document: dict[str, Any] = {
        "time": at.isoformat(timespec="milliseconds"),
        "level": line.level,
        "run": line.run,
        "session": line.session,
        "event": line.event,
        "message": truncate_line(line.message),
        "data": line.data,
    }
    return escape_controls(json.dumps(document))


class LogFile:
    """A rotated file of lines, readable by its owner only. Lines that cannot be written are dropped."""

    def __init__(self, path: Path) -> None:
        try:
            private_folder(path.parent)
            self._handler = _Handler(path)
        except OSError as error:
            why = error.strerror or error
            raise BadInput(f"{path} cannot be written ({why}): name another file with --log-file") from error

    def write(self, text: str) -> None:
        """Append a line."""
        self._handler.handle(logging.LogRecord("relay", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Close the file. Buffered text is lost if the disk is full."""
        with ignore_full_disk():
            self._handler.close()


class _Handler(RotatingFileHandler):
    def __init__(self, path: Path) -> None:
        self._complained = False
        super().__init__(path, maxBytes=FILE_BYTES_MAX - MARGIN_BYTES, backupCount=FILES_KEPT, encoding="utf-8")

    def _open(self) -> TextIO:  # type: ignore[override]
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        file = os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")
        if (path := Path(self.baseFilename)).is_file():
            path.chmod(0o600)  # an existing file would keep its mode
        return file

    def handleError(self, record: logging.LogRecord) -> None:
        """Report a failing log once on standard error; it must not end the daemon."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif error.errno not in FULL and not self._complained:
            self._complained = True
            with ignore_full_disk():
                click.echo(f"relay: {self.baseFilename} cannot be written ({error.strerror})", err=True)
