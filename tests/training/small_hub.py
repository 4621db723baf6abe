"""A Hugging Face hub on this machine with one data set, whose branch `main` moves on: what `datasets` asks of it to read rows."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class SmallHub:
    """`commits` are files by path, by commit; `main` is the newest."""

    repository: str
    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def commit(self, files: Mapping[str, bytes]) -> str:
        """One more commit, which `main` is at from now on."""
        name = hashlib.sha1(b"".join(files.values()), usedforsecurity=False).hexdigest()
        self.commits[name] = files
        return name

    def find(self, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
        commit = list(self.commits)[-1] if revision == "main" else revision
        return (commit, self.commits[commit]) if commit in self.commits else None

    def answer(self, path: str, wanted: Sequence[str] = ()) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; `wanted` are the paths that are asked about."""
        self.asked.append(path)
        api, files = f"/api/datasets/{self.repository}", f"/datasets/{self.repository}/resolve/"
        if path.startswith(files):
            revision, _, name = path.removeprefix(files).partition("/")
            found = self.find(revision)
            if found is None or name not in found[1]:
                return 404, {"X-Error-Code": "EntryNotFound"}, b""
            etag = hashlib.sha256(found[1][name]).hexdigest()
            return 200, {"X-Repo-Commit": found[0], "ETag": f'"{etag}"'}, found[1][name]
        if path == api or path.startswith(f"{api}/revision/"):
            found = self.find(path.removeprefix(api).removeprefix("/revision/") or "main")
            return self._json(None if found is None else self._about(*found))
        if path.startswith(f"{api}/paths-info/"):
            found = self.find(path.removeprefix(f"{api}/paths-info/"))
            return self._json(None if found is None else [e for e in self._tree(found[1], "") if e["path"] in wanted])
        if path.startswith(f"{api}/tree/"):
            revision, _, folder = path.removeprefix(f"{api}/tree/").partition("/")
            found = self.find(revision)
            return self._json(None if found is None else self._tree(found[1], folder))
        return 404, {"X-Error-Code": "EntryNotFound"}, b""

    def _about(self, commit: str, files: Mapping[str, bytes]) -> dict[str, Any]:
        return {
            "id": self.repository,
            "sha": commit,
            "private": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": name} for name in files],
        }

    def _tree(self, files: Mapping[str, bytes], folder: str) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
            if name.startswith(folder)
        ]

    def _json(self, value: Any) -> tuple[int, dict[str, str], bytes]:
        if value is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def served(hub: SmallHub) -> Iterator[str]:
    """The address that HF_ENDPOINT has to name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(hub.answer(unquote(urlsplit(self.path).path)))

        def _send(self, answer: tuple[int, dict[str, str], bytes]) -> None:
            status, headers, body = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def do_POST(self) -> None:
            said = self.rfile.read(int(self.headers["Content-Length"])).decode()
            wanted = json.loads(said)["paths"] if said.startswith("{") else parse_qs(said).get("paths", [])
            self._send(hub.answer(unquote(urlsplit(self.path).path), wanted))

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: `asked` has it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
