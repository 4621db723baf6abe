"""Kaggle goes away while a session runs and comes back later: the run finishes, and nobody hammered at the door."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.rehearsal.laptop import PATIENCE_S, SMALL, Laptop, local_kaggle

OUTAGE_S = float(os.environ.get("RELAY_TEST_OUTAGE_S", "20"))
"""How long Kaggle is away."""


class Door:
    """Passes connections on to a server, until it is shut: then nobody listens there."""

    def __init__(self, port: int) -> None:
        self._to, self._port, self._listener = port, 0, None
        self._threads: list[threading.Thread] = []
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._threads.append(threading.Thread(target=self._accept, args=(self._listener,), daemon=True))
        self._threads[-1].start()

    def shut(self) -> None:
        assert self._listener is not None
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[-1].join()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self._threads.insert(0, threading.Thread(target=_carry, args=(near, self._to), daemon=True))
            self._threads[0].start()

    def close(self) -> None:
        """Shut for good, once nobody speaks through it any more."""
        self.shut()
        for thread in self._threads:
            thread.join(10.0)


def _carry(near: socket.socket, port: int) -> None:
    """One connection, both ways, until both ends have hung up."""
    with near, socket.create_connection(("127.0.0.1", port)) as far:
        back = threading.Thread(target=_pour, args=(far, near), daemon=True)
        back.start()
        _pour(near, far)
        back.join()


def _pour(source: socket.socket, into: socket.socket) -> None:
    try:
        while block := source.recv(2**16):
            into.sendall(block)
    except OSError:
        pass  # cut: what follows tells the other end
    with contextlib.suppress(OSError):
        into.shutdown(socket.SHUT_WR)


@contextmanager
def door_to(port: int) -> Iterator[Door]:
    """A door, shut at the end."""
    door = Door(port)
    try:
        yield door
    finally:
        door.close()


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
            ((failures, failure),) = mine.ask("SELECT failures, failure FROM watch")
            print(f"away for {OUTAGE_S:g} s: {failures} failures told, {mine.told.count('trying again later')} said")
            door.open()
            mine.until(mine.is_over, daemon, PATIENCE_S + OUTAGE_S)  # its last wait was as long as all before together
            mine.assert_finished(kaggle)
        finally:
            mine.off()
    assert failures <= 2 + OUTAGE_S / 30, "each failure waits longer than the one before"
    assert not failures or "Connection refused" in failure
