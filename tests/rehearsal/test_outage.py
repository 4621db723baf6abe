"""Kaggle goes away while a session runs and comes back later: the run finishes, and nobody hammered at the door."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.rehearsal.laptop import PATIENCE_S, SMALL, Laptop, local_kaggle

OUTAGE_S = float(os.environ.get("RELAY_TEST_OUTAGE_S", "20"))
"""How long Kaggle is away."""


class Door:
    """Passes connections on to a server, until it is shut: then nobody listens there, and what was open is cut."""

    def __init__(self, port: int) -> None:
        self._to, self._port = port, 0
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._sockets = [listener]
        self._begin(self._accept, listener)

    def shut(self) -> None:
        for found in list(self._sockets):
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join()
        for found in self._sockets:
            found.close()
        self._threads.clear()

    def _begin(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the door was shut
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [near, far]
                self._begin(_pour, near, far)
                self._begin(_pour, far, near)


def _pour(source: socket.socket, into: socket.socket) -> None:
    with contextlib.suppress(OSError):  # either side has had enough
        while block := source.recv(2**16):
            into.sendall(block)
        into.shutdown(socket.SHUT_WR)


@contextmanager
def door_to(port: int) -> Iterator[Door]:
    """A door, shut at the end."""
    door = Door(port)
    try:
        yield door
    finally:
        door.shut()


@pytest.mark.slow
def test_a_kaggle_that_goes_away_and_comes_back_costs_nothing_but_time(tmp_path: Path) -> None:
    with local_kaggle(tmp_path / "kaggle") as kaggle, door_to(urlsplit(kaggle.url).port or 0) as door:
        kaggle._links.base = door.url  # files are fetched through the same door
        mine = Laptop(tmp_path, {**kaggle.environment(), "RELAY_KAGGLE_URL": door.url}, SMALL)
        try:
            mine.start()
            daemon = mine.daemon()
            mine.until(mine.runs_a_session, daemon)
            door.shut()
            time.sleep(OUTAGE_S)
            assert daemon.poll() is None, mine.told
            ((failures, failure),) = mine.ask("SELECT failures, failure FROM poll_state")
            print(f"away for {OUTAGE_S:g} s: {failures} failures told, {mine.told.count('trying again at')} said")
            door.open()
            mine.until(mine.is_over, daemon, PATIENCE_S + OUTAGE_S)  # its last wait was as long as all before together
            mine.assert_finished(kaggle)
        finally:
            mine.off()
    assert failures <= 6 + OUTAGE_S / 30, "each failure waits longer than the one before, up to half a minute"
    assert not failures or "cannot be reached: connection refused" in failure
