"""Progress of an upload on standard error: a bar on a terminal, a line for each tenth elsewhere."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from orchestrator.base.humanize import counted
from orchestrator.views.format import size
from orchestrator.views.printing import can_redraw, console

TENTHS = 10


class UploadProgress:
    """Prints sentences and the bytes sent so far."""

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        click.echo(f"relay: {sentence}", err=True)

    @contextmanager
    def sending(self, sizes: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
        """Show the progress of an upload of files of these sizes; yields what to call with a file's name and bytes."""
        total, on = sum(sizes.values()), console(sys.stderr)
        self.say(f"sending {counted(len(sizes), 'file')}, {size(total)}")
        if not can_redraw(on):
            yield SentBytes(total, self.say).reached
            return
        with Progress(
            BarColumn(), DownloadColumn(True), TransferSpeedColumn(), TimeRemainingColumn(), console=on, transient=True
        ) as bar:
            task = bar.add_task("", total=total)
            done = SentBytes(total, lambda _: None, lambda sent: bar.update(task, completed=sent))
            yield done.reached


class SentBytes:
    """Adds up the positions in files that are sent at the same time, and tells each tenth of the whole once."""

    def __init__(self, total: int, say: Callable[[str], None], told: Callable[[int], None] = lambda sent: None) -> None:
        self._total, self._say, self._told = total, say, told
        self._at: dict[str, int] = {}
        self._sum = self._tenths = 0
        self._lock = threading.Lock()

    def reached(self, name: str, position: int) -> None:
        """Record the position in a file. A part that is sent again counts once."""
        with self._lock:
            self._sum += max(0, position - self._at.get(name, 0))
            self._at[name] = max(position, self._at.get(name, 0))
            self._told(self._sum)
            tenths = TENTHS * self._sum // max(1, self._total)
            if tenths > self._tenths:
                self._tenths = tenths
                self._say(f"sent {size(self._sum)} of {size(self._total)} ({tenths * 100 // TENTHS} %)")
