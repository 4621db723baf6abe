"""The part of Hugging Face's API that uploading a model uses, with one repository per name, on a loopback port."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_test"
LARGE_BYTES = 10_000
"""Files from this size on are uploaded apart, as Hugging Face asks for weights."""


@dataclass
class Repository:
    """The repository's newest commit and its files."""

    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*"})
    commits: list[str] = field(default_factory=lambda: ["0" * 40])


@dataclass
class Hub:
    """The server, its repositories, and the bytes that were uploaded apart, by SHA-256."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    spoils: bool = False
    """True if every large file loses its last byte."""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON answer of a call."""
        if method == "PUT" and path.startswith("/large/"):
            self.large[path.removeprefix("/large/")] = body[:-1] if self.spoils else body
            return 200, {}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.repositories[name] = Repository(asked.get("private", asked.get("visibility") == "private"))
            return 200, {"url": f"{self.url}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return 200, {"transfer": "basic", "objects": [self._upload(one) for one in json.loads(body)["objects"]]}
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(\w+)(?:/\w+)?)?", path)
        if found is None or found[1] not in self.repositories:
            return 404, {"error": "Repository not found"}
        repository = self.repositories[found[1]]
        match found[2]:
            case "preupload":
                return 200, {"files": [_mode(file) for file in json.loads(body)["files"]]}
            case "commit":
                return 200, self._commit(found[1], repository, [json.loads(line) for line in body.splitlines()])
            case "settings":
                asked = json.loads(body)
                repository.private = asked.get("private", asked.get("visibility") == "private")
                return 200, {}
            case _:
                return 200, _seen(found[1], repository)

    def _upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {**asked, "actions": {"upload": {"href": f"{self.url}/large/{asked['oid']}"}}}

    def _commit(self, name: str, repository: Repository, lines: list[dict[str, Any]]) -> dict[str, Any]:
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    repository.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    repository.files[value["path"]] = self.large[value["oid"]]
                case "deletedFile":
                    del repository.files[value["path"]]
        commit = hashlib.sha1(repr(sorted(repository.files.items())).encode()).hexdigest()
        repository.commits.append(commit)
        return {"success": True, "commitOid": commit, "commitUrl": f"{self.url}/{name}/commit/{commit}"}


def _mode(file: dict[str, Any]) -> dict[str, Any]:
    mode = "lfs" if file["size"] >= LARGE_BYTES else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}


def _seen(name: str, repository: Repository) -> dict[str, Any]:
    files = [{"rfilename": path, "size": len(content)} for path, content in repository.files.items()]
    about = {"id": name, "modelId": name, "sha": repository.commits[-1], "private": repository.private}
    return {**about, "siblings": files, "tags": [], "downloads": 0, "likes": 0}


@contextmanager
def hub() -> Iterator[Hub]:
    """Serve a hub without repositories."""
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self._body()
            path = self.path.partition("?")[0]
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}" or path.startswith("/large/")
            status, answer = found.answer(self.command, path, body) if known else (401, {"error": "Invalid token"})
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_POST = do_PUT = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
