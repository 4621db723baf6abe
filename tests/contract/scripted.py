"""A real HTTP server that answers what a test says, for faults that the local Kaggle does not offer."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    method: str
    path: str
    headers: Message
    body: bytes

    @property
    def call(self) -> str:
        """The RPC's name, without its service."""
        return self.path.partition("?")[0].rsplit("/", 1)[-1]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer. `cut_after` ends the connection after that many bytes of a body whose whole length was announced."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    drip_s: float | None = None
    """Send a byte, wait this long, and so on for ever."""
    hang: bool = False
    """Say nothing until the server is closed."""
    silent_end: bool = False
    """After the body, keep the connection open and say nothing more (for event streams)."""
    measured: bool = True
    """Announce the body's length."""


def answer(value: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON answer."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status=status, body=json.dumps(value).encode(), headers={"Content-Type": "application/json", **named})


def error(status: int, message: str, **headers: str) -> Reply:
    """An error as Kaggle words it, nested."""
    return answer({"error": {"code": status, "message": message, "status": "WORD"}}, status, **headers)


Script = Callable[[Seen], Reply]


class Scripted:
    """The running server; `seen` has every request, `sent_bytes` counts the bodies' bytes that went out."""

    def __init__(self, script: Script) -> None:
        self.seen: list[Seen] = []
        self.sent_bytes = 0
        self.closing = threading.Event()
        self.script = script
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def calls(self, name: str) -> list[Seen]:
        """The requests for one RPC."""
        return [seen for seen in self.seen if seen.call == name]

    @contextmanager
    def running(self) -> Iterator["Scripted"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@contextmanager
def scripted(script: Script) -> Iterator[Scripted]:
    """A server that answers every request by `script`."""
    with Scripted(script).running() as server:
        yield server


def in_turn(*replies: Reply) -> Script:
    """Answers one after the other; the last one again and again."""
    left = list(replies)
    return lambda _seen: left.pop(0) if len(left) > 1 else left[0]


def by_call(**scripts: Script | Reply) -> Script:
    """Answers by the RPC's name; 501 for all others."""

    def script(seen: Seen) -> Reply:
        found = scripts.get(seen.call, error(501, f"no script for {seen.call}"))
        return found if isinstance(found, Reply) else found(seen)

    return script


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Scripted

    def _any(self) -> None:
        body = self._body()
        seen = Seen(self.command, self.path, self.headers, body)
        self.owner.seen.append(seen)
        self.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):  # the client had enough
            self._reply(self.owner.script(seen))

    do_GET = do_POST = do_PUT = _any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            raise AssertionError("a body without a length")
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _reply(self, reply: Reply) -> None:
        if reply.hang:
            self.owner.closing.wait()
            return
        self.send_response(reply.status)
        for name, value in {"Connection": "close", **reply.headers}.items():
            self.send_header(name, value)
        endless = reply.silent_end or reply.drip_s is not None
        if reply.measured and not endless and "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        body = reply.body if reply.cut_after is None else reply.body[: reply.cut_after]
        self.owner.sent_bytes += len(body)
        self.wfile.write(body)
        self.wfile.flush()
        self._linger(reply)

    def _linger(self, reply: Reply) -> None:
        while reply.drip_s is not None and not self.owner.closing.wait(reply.drip_s):
            self.wfile.write(b" ")
            self.wfile.flush()
        if reply.silent_end:
            self.owner.closing.wait()

    def log_message(self, *_args: Any) -> None:
        """Nothing: the test's own output is enough."""
