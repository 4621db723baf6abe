"""Fast storage server on a loopback port, for transfer benchmarks: sends files by `sendfile` and only counts uploads.

It implements the part of Kaggle's protocol needed to transfer a checkpoint: range downloads, resumable uploads, and
three API calls. It is as fast as the machine or limited to a given bandwidth, can cut or stall a connection after a
given number of bytes, and counts every byte of a body.
"""

import argparse
import fcntl
import json
import os
import re
import select
import socket
import ssl
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

BLOCK_BYTES = 2**20
OWNER = "bench"
TOKEN = "KGAT_0123456789abcdef0123456789abcdef"


@dataclass
class Counts:
    """Bytes of bodies transferred, and requests, since the last reset."""

    sent_bytes: int = 0
    received_bytes: int = 0
    requests: int = 0


@dataclass
class Plan:
    """Planned faults for the next bodies: (byte count, "cut" or "stall"), one per request in order."""

    down: list[tuple[int, str]] = field(default_factory=list)
    up: list[tuple[int, str]] = field(default_factory=list)


class Storage(ThreadingHTTPServer):
    """Serves the files of `folder` below `/files/`; counts uploads to `/uploads/<key>` and stores them with `keep`."""

    daemon_threads = True

    def __init__(self, folder: Path, *, keep: bool, wire_mbit: float = 0.0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.keep = keep
        self.wire_bytes_s = wire_mbit * 125_000
        self.counts = Counts()
        self.plan = Plan()
        self.sizes: dict[str, int] = {}
        self.stored: dict[str, int] = {}
        self.stalled = threading.Event()
        self.lock = threading.Lock()
        self.scheme = "https" if tls else "http"
        self.tls = tls

    @property
    def url(self) -> str:
        """URL of the server, without a trailing slash."""
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = super().get_request()
        return (self.tls.wrap_socket(accepted, server_side=True) if self.tls else accepted), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: disconnecting clients are part of the benchmark."""


class _Pace:
    """Limits the transfer rate to a bandwidth in bytes per second; 0: unlimited."""

    def __init__(self, bytes_s: float) -> None:
        self.bytes_s = bytes_s
        self.free_at_s = time.monotonic()

    @property
    def most_bytes(self) -> int:
        """Maximum number of bytes per write."""
        return 2**18 if self.bytes_s else 2**26

    def passed(self, count: int) -> None:
        """Wait until `count` bytes would have been transferred."""
        if self.bytes_s:
            self.free_at_s += count / self.bytes_s
            time.sleep(max(0.0, self.free_at_s - time.monotonic()))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def storage(self) -> Storage:
        return cast(Storage, self.server)

    # --- down ------------------------------------------------------------------

    def do_GET(self) -> None:
        if self.path == "/counts":
            self._json(asdict(self.storage.counts) | {"stored": self.storage.stored, "stalls": self._stalls()})
            return
        path = self.storage.folder / Path(self.path).name
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        for name, value in {"ETag": f'"{size}"', "Accept-Ranges": "bytes", "Content-Length": str(size - first)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        befalls = self._next_fault(self.storage.plan.down)
        last = size if befalls is None else min(size, first + befalls[0])
        with path.open("rb") as file:
            self._send(file.fileno(), first, last)
        if befalls is not None:
            self._apply_fault(befalls[1])

    def _send(self, file: int, first: int, last: int) -> None:
        pace = _Pace(self.storage.wire_bytes_s)
        while first < last:
            if self.storage.tls:
                block = os.pread(file, min(BLOCK_BYTES, pace.most_bytes, last - first), first)
                self.connection.sendall(block)
                sent = len(block)
            else:
                sent = os.sendfile(self.connection.fileno(), file, first, min(pace.most_bytes, last - first))
            first += sent
            pace.passed(sent)
            with self.storage.lock:
                self.storage.counts.sent_bytes += sent

    # --- up --------------------------------------------------------------------

    def do_PUT(self) -> None:
        key = self.path.rpartition("/")[2]
        length, where = int(self.headers["Content-Length"]), self.headers.get("Content-Range", "")
        size = self.storage.sizes.setdefault(key, length)
        if not where.startswith("bytes */"):
            piece = re.fullmatch(r"bytes (\d+)-\d+/\d+", where)
            first = int(piece[1]) if piece else 0
            assert first <= self.storage.stored.get(key, 0), "a hole"
            befalls = self._next_fault(self.storage.plan.up)
            self._receive(key, first, length if befalls is None else min(length, befalls[0]))
            if befalls is not None:
                self._apply_fault(befalls[1])
                return
        stored = self.storage.stored.get(key, 0)
        if stored == size:
            self._json({"kind": "storage#object"})
            return
        self.send_response(308)
        if stored:
            self.send_header("Range", f"bytes=0-{stored - 1}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _receive(self, key: str, first: int, left: int) -> None:
        block, pace = memoryview(bytearray(BLOCK_BYTES)), _Pace(self.storage.wire_bytes_s)
        kept = os.open(self.storage.folder / f"up-{key}", os.O_RDWR | os.O_CREAT) if self.storage.keep else None
        while left:
            count = self.rfile.readinto1(block[: min(left, BLOCK_BYTES, pace.most_bytes)])  # type: ignore[attr-defined]
            if not count:
                break
            if kept is not None:
                os.pwrite(kept, block[:count], first)
            left, first = left - count, first + count
            pace.passed(count)
            with self.storage.lock:
                self.storage.counts.received_bytes += count
                self.storage.stored[key] = max(self.storage.stored.get(key, 0), first)
        if kept is not None:
            os.close(kept)

    # --- calls -----------------------------------------------------------------

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or b"{}")
        call = self.path.rpartition("/")[2]
        if call == "plan":
            self.storage.counts = Counts()
            self.storage.stalled.clear()
            self.storage.plan = Plan(**{way: [tuple(one) for one in body.get(way, [])] for way in ("down", "up")})
            self._json({})
        elif call == "IntrospectToken":
            self._json({"active": True, "username": OWNER, "userId": 1, "scope": "resources.admin:*"})
        elif call == "StartBlobUpload":
            key = f"{len(self.storage.sizes)}-{body['name']}"
            self.storage.sizes[key] = int(body["contentLength"])
            self._json({"token": key, "createUrl": f"{self.storage.url}/uploads/{key}"})
        else:
            assert call == "CreateDataset", call
            self._json({"status": "ok", "ref": f"/{OWNER}/{body['slug']}", "url": f"{self.storage.url}/{body['slug']}"})

    def _json(self, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    # --- faults ----------------------------------------------------------------

    def _next_fault(self, planned: list[tuple[int, str]]) -> tuple[int, str] | None:
        with self.storage.lock:
            self.storage.counts.requests += 1
            return planned.pop(0) if planned else None

    def _stalls(self) -> bool:
        return self.storage.stalled.is_set()

    def _apply_fault(self, how: str) -> None:
        self.close_connection = True
        if how == "stall":
            self._wait_for_disconnect()
            return
        # Bytes that the client has sent and the server will not read were transferred as well.
        unread = struct.unpack("i", fcntl.ioctl(self.connection.fileno(), termios.FIONREAD, b"\0" * 4))[0]
        with self.storage.lock:
            self.storage.counts.received_bytes += unread
        self.connection.shutdown(socket.SHUT_RDWR)

    def _wait_for_disconnect(self) -> None:
        self.storage.stalled.set()
        hung_up = select.poll()
        hung_up.register(self.connection, select.POLLRDHUP)
        hung_up.poll()
        with suppress(ConnectionError):
            while block := self.connection.recv(BLOCK_BYTES):  # transferred but not stored
                with self.storage.lock:
                    self.storage.counts.received_bytes += len(block)

    def log_message(self, *_: Any) -> None:
        """Suppress the request log."""


class Remote:
    """Client of a running storage server, for the measuring process."""

    def __init__(self, url: str, certificate: Path | None) -> None:
        self.url = url
        self.certificate = certificate
        self.uploads = 0
        self._context = ssl.create_default_context(cafile=certificate) if certificate else None

    def plan(self, **ways: list[tuple[int, str]]) -> None:
        """Plan faults for the next bodies, and reset the counts."""
        self._request("/plan", json.dumps(ways).encode())

    def counts(self) -> dict[str, Any]:
        """Return the counts since the last reset."""
        return cast(dict[str, Any], json.loads(self._request("/counts")))

    def _request(self, path: str, data: bytes | None = None) -> bytes:
        with urllib.request.urlopen(self.url + path, data, timeout=60, context=self._context) as answer:
            return cast(bytes, answer.read())


@contextmanager
def serving(folder: Path, *, keep: bool = False, wire_mbit: float = 0.0, tls: bool = False) -> Iterator[Remote]:
    """Run a storage server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.storage", str(folder), "--wire-mbit", str(wire_mbit)]
    command += ["--keep"] if keep else []
    certificate = _certified(folder) if tls else None
    command += ["--tls", str(certificate)] if certificate else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Remote(process.stdout.readline().strip(), certificate)
    finally:
        process.terminate()
        process.wait()


def _certified(folder: Path) -> Path:
    """Create a self-signed certificate for 127.0.0.1 with its key, in one file."""
    path = folder / "server.pem"
    asked = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=relay"]
    files = ["-keyout", str(path), "-out", str(path) + ".crt", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", "-x509", *asked, *files], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def main() -> None:
    """Serve until terminated; the first line printed is the address."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", action="store_true", help="store uploads as up-KEY")
    parser.add_argument("--wire-mbit", type=float, default=0.0, help="bandwidth; 0: unlimited")
    parser.add_argument("--tls", type=Path, help="file with certificate and key")
    asked = parser.parse_args()
    tls = None
    if asked.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(asked.tls)
    with Storage(asked.folder, keep=asked.keep, wire_mbit=asked.wire_mbit, tls=tls) as storage:
        sys.stdout.write(f"{storage.url}\n")
        sys.stdout.flush()
        storage.serve_forever()


if __name__ == "__main__":
    main()
