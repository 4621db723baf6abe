"""A server on this machine that takes messages as apprise's `json://` sends them, and misbehaves when it is told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "5ecr3t-0f-the-h00k"


class Receiver:
    """What arrived, and how the next message is answered: `status`, or not at all while it `hangs`."""

    def __init__(self, port: int) -> None:
        self.url = f"json://127.0.0.1:{port}/hooks/{SECRET}"
        self.taken: list[dict[str, str]] = []
        self.asked = 0
        self.status = 200
        self.next: list[int] = []
        """How the next messages are answered, before `status` holds again."""
        self.free = threading.Event()
        """Cleared: every message hangs until it is set."""
        self.free.set()

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.taken]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that listens while the block runs."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.asked += 1
            found.free.wait(60.0)
            status = found.next.pop(0) if found.next else found.status
            if status == 200:
                found.taken.append(json.loads(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    found = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        found.free.set()
        server.shutdown()
        thread.join()
        server.server_close()
