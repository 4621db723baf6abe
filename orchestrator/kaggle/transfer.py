"""Downloads that end up complete or not at all: stream to `.part`, hash, resume by range after an interruption, rename.

A second thread hashes received blocks while the next ones are received and written; only a few blocks are held in
memory. A partial file of another process is resumed only if the expected SHA-256 is known, since only that can prove
that both halves belong together.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import requests

from orchestrator.base.disk import disk_errors, replace_file, sync_folder
from orchestrator.base.errors import Corrupt, RelayError
from orchestrator.kaggle.background_hash import BackgroundHasher
from orchestrator.kaggle.retry import RetryPolicy, StaleUrl
from orchestrator.kaggle.transport import (
    BoundedSession,
    CallFailed,
    ConnectionLost,
    HttpStatus,
    Redact,
    TransportLimits,
    as_read,
    blocks_of,
    check_status,
    transport_errors,
)
from orchestrator.platforms.port import Downloaded, FileWanted

BLOCK_BYTES = 2**20
"""Size of the blocks that are written and hashed. TLS delivers pieces of 16 KiB, and each would cost several calls."""
PIECE_BYTES_MAX = 2**18
"""Maximum bytes per read. For larger reads the C library allocates each buffer from the system and returns it, which
costs more than all else over TLS."""

PROGRESS_BYTES_MIN = 2**16
"""Bytes that a connection must deliver to count as progress, which resets the retry count."""

Opener = Callable[[Mapping[str, str]], AbstractContextManager[requests.Response]]
"""Requests the file with these headers (Range, If-Range); each call may use a fresh URL."""


def opener(url: str, limits: TransportLimits, redact: Redact, authorization: str | None = None) -> Opener:
    """Return an Opener for one URL."""

    @contextmanager
    def open_(headers: Mapping[str, str]) -> Iterator[requests.Response]:
        with BoundedSession(limits, authorization) as session:
            with transport_errors(redact):
                response = session.get(url, headers=dict(headers), stream=True)
            with response:
                yield response

    return open_


def fetch(open_: Opener, into: Path, wanted: FileWanted, retries: RetryPolicy, redact: Redact) -> Downloaded:
    """Download one file to `into`. See `Gateway.download`; raises DiskRefused if the local disk fails."""
    if (kept := _already_there(into, wanted)) is not None:
        return kept
    with BackgroundHasher() as sha256:
        return _fetched(_Part(into, wanted, sha256), open_, retries, redact)


def _fetched(part: "_Part", open_: Opener, retries: RetryPolicy, redact: Redact) -> Downloaded:
    continued = part.adopt()
    part.fill(open_, retries, redact)
    if continued and part.problem():
        part.start_over()  # the partial file belonged to another version: not Kaggle's fault
        part.fill(open_, retries, redact)
    if problem := part.problem():
        part.set_aside()
        raise Corrupt(f"{part.into.name} is not what was promised: {problem}")
    return part.keep()


class _Part:
    """A partial download, with the hash of the bytes received so far."""

    def __init__(self, into: Path, wanted: FileWanted, sha256: BackgroundHasher) -> None:
        self.into = into
        self.path = into.with_name(into.name + ".part")
        self.wanted = wanted
        self.size = 0
        self.sha256 = sha256
        self.validator: str | None = None

    def adopt(self) -> bool:
        """Take over the partial file of an earlier process; return whether there is anything to resume."""
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                return False
            if self.wanted.sha256 is None:
                self.path.unlink()
                return False
            try:
                self.size = _hash_into(self.sha256.update, self.path)
            except OSError:  # an unreadable partial file is downloaded again
                self.path.unlink()
                self.start_over()
            return self.size > 0

    def start_over(self) -> None:
        self.size = 0
        self.sha256.restart()
        self.validator = None

    def fill(self, open_: Opener, retries: RetryPolicy, redact: Redact) -> None:
        """Receive until the end of the file."""
        while not retries(lambda: self._receive(open_, redact)):
            pass  # interrupted after good progress: resume at once

    def problem(self) -> str:
        """Return why the bytes do not match the expectation, or an empty string."""
        return self.wanted.problem(self.size, self.sha256.hexdigest())

    def set_aside(self) -> None:
        """Move the received bytes to `wanted.damaged`, or delete them."""
        with disk_errors(self.path):
            if self.wanted.damaged is not None and self.path.exists():
                self.wanted.damaged.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                replace_file(self.path, self.wanted.damaged)
            self.path.unlink(missing_ok=True)

    def keep(self) -> Downloaded:
        """Rename the file to its final name once every byte is on disk."""
        with disk_errors(self.into):
            with self.path.open("ab") as file:  # creates the file if the download is empty
                os.fsync(file.fileno())
            replace_file(self.path, self.into)
            sync_folder(self.into.parent)
        return Downloaded(path=self.into, size_bytes=self.size, sha256=self.sha256.hexdigest())

    def _receive(self, open_: Opener, redact: Redact) -> bool:
        """Receive from one connection; return whether the end was reached.

        Raises Transient if it made too little progress.
        """
        before = self.size
        try:
            with open_(self._headers()) as response, transport_errors(redact):
                return self._receive_body(response, redact)
        except CallFailed as error:
            if self.size - before >= PROGRESS_BYTES_MIN:
                return False
            raise self._as_error(error) from error

    def _headers(self) -> dict[str, str]:
        # With compression, ranges and lengths would count other bytes than the file's.
        headers = {"Accept-Encoding": "identity"}
        if self.size and self.validator is None and self.wanted.sha256 is None:
            self.start_over()  # nothing could prove that the rest belongs to the bytes here
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self.validator is not None:
                headers["If-Range"] = self.validator
        return headers

    def _as_error(self, error: CallFailed) -> RelayError:
        what = f"download of {self.into.name}"
        if isinstance(error, HttpStatus) and 400 <= error.status < 500 and error.status not in (408, 429):
            return StaleUrl(f"{what}: {error}; the address may have expired")
        return as_read(error, what)

    def _receive_body(self, response: requests.Response, redact: Redact) -> bool:
        if response.status_code == 416:
            return self._nothing_left(response)
        if response.status_code >= 400:
            check_status(response, response.raw.read(2**14) or b"", redact)
        if response.status_code != 206:
            self.start_over()
        elif _first_byte(response) != self.size:
            self.start_over()
            raise ConnectionLost("the server sent another range than the one that was asked for")
        self.validator = _validator(response)
        self._write(response)
        return self._ended(response)

    def _write(self, response: requests.Response) -> None:
        with disk_errors(self.path):
            file = self.path.open("r+b" if self.size else "wb")
        with file:
            with disk_errors(self.path):
                file.seek(self.size)
                file.truncate()
            self._copy(response, file)

    def _copy(self, response: requests.Response, file: BinaryIO) -> None:
        """Copy until the body ends or exceeds its limit. An interruption loses nothing that was received before it."""
        pieces: list[bytes] = []
        gathered = 0
        try:
            for piece in blocks_of(response, PIECE_BYTES_MAX):
                pieces.append(piece)
                gathered += len(piece)
                too_large = self.wanted.too_large(self.size + gathered)
                if gathered >= BLOCK_BYTES or too_large:
                    block, pieces, gathered = b"".join(pieces), [], 0
                    self._keep_block(block, file)
                if too_large:
                    return
        finally:
            self._keep_block(b"".join(pieces), file)

    def _keep_block(self, block: bytes, file: BinaryIO) -> None:
        with disk_errors(self.path, self._lacking_bytes()):
            file.write(block)
            file.flush()
        self.sha256.update(block)
        self.size += len(block)

    def _lacking_bytes(self) -> int:
        """Return the number of bytes still to come; 0 if unknown."""
        return max(0, (self.wanted.size_bytes or 0) - self.size)

    def _ended(self, response: requests.Response) -> bool:
        # Without a length, an interrupted body looks complete: compare with the expected size.
        has_length = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        if not has_length and self.wanted.size_bytes is not None and self.size < self.wanted.size_bytes:
            raise ConnectionLost(f"only {self.size} of {self.wanted.size_bytes} bytes came")
        return True

    def _nothing_left(self, response: requests.Response) -> bool:
        total = re.fullmatch(r"bytes \*/(\d{1,18})", response.headers.get("Content-Range", ""))
        if self.size in (self.wanted.size_bytes, int(total[1]) if total else None):
            return True
        self.start_over()
        raise ConnectionLost("the file on the server is shorter than what was here")


def _already_there(into: Path, wanted: FileWanted) -> Downloaded | None:
    # The size alone proves nothing: checkpoints of two sessions often have the same size.
    if wanted.sha256 is None or not into.is_file():
        return None
    sha256 = hashlib.sha256()
    try:
        size = _hash_into(sha256.update, into)
    except OSError:  # an unreadable file is downloaded again
        return None
    if sha256.hexdigest() != wanted.sha256.lower() or wanted.size_bytes not in (None, size):
        return None
    return Downloaded(path=into, size_bytes=size, sha256=sha256.hexdigest())


def _hash_into(update: Callable[[bytes], None], path: Path) -> int:
    size = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            update(block)
            size += len(block)
    return size


def _first_byte(response: requests.Response) -> int | None:
    found = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _validator(response: requests.Response) -> str | None:
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")
