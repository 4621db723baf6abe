"""Resumable uploads of blobs: one PUT streamed from disk; after an interruption, only the bytes that the server lacks.

The protocol is Google Cloud Storage's, to which Kaggle's upload URLs belong: a PUT of the whole body; after a failure
a probe with `Content-Range: bytes */N`, answered with 200/201 (complete), 308 with `Range: bytes=0-K` (continue at
K+1) or 404 (the upload is unknown: start a new one). Each file's upload URL is kept on disk (`journal`, an
UploadJournal), so that killing the process costs at most the bytes in flight.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from orchestrator.base.disk import disk_error, disk_errors
from orchestrator.base.errors import Corrupt, RelayError, Transient
from orchestrator.kaggle.retry import RetryPolicy
from orchestrator.kaggle.transport import (
    BoundedSession,
    CallFailed,
    HttpStatus,
    Redact,
    TransportLimits,
    as_read,
    check_status,
    transport_errors,
)
from orchestrator.kaggle.upload_journal import Slot, UploadJournal

NOWHERE = UploadJournal()

At = Callable[[int], None]
"""Receives the number of a file's bytes that have been read for sending, from the thread that sends it."""


def ignore_position(_bytes: int) -> None:
    """Do nothing."""


def upload(
    path: Path,
    start: Callable[[], Slot],
    limits: TransportLimits,
    retries: RetryPolicy,
    redact: Redact,
    journal: UploadJournal = NOWHERE,
    at: At = ignore_position,
) -> str:
    """Upload one file and return its blob token. `start` opens a new upload and raises Transient if that fails.

    An upload that an earlier process recorded in `journal` is resumed: only the bytes that the storage lacks are
    sent.

    Raises Refused if the storage declines, Transient if retries are exhausted (nothing refers to the blob yet, so
    starting again is safe), Corrupt if the file changed meanwhile, Permanent if it no longer exists, DiskRefused if it
    cannot be read.
    """
    sending = _Sending(path, start, limits, redact, journal, at)
    try:
        while not retries(sending.step):
            pass  # the server has more bytes than before, so the retry count starts over
    except Transient:
        if not sending.heard:
            journal.begin_anew(path)
        raise
    assert sending.slot is not None
    at(sending.size)
    return sending.slot.token


class _TrackedFile(io.FileIO):
    """A file being sent. Records read errors of the local disk, which requests would report as connection errors."""

    failed: OSError | None = None

    def __init__(self, path: Path, at: At) -> None:
        super().__init__(path)
        self._at = at

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            block = super().read(size) or b""
            self._at(self.tell())
            return block
        except OSError as error:
            self.failed = error
            raise


class _Sending:
    def __init__(
        self,
        path: Path,
        start: Callable[[], Slot],
        limits: TransportLimits,
        redact: Redact,
        journal: UploadJournal,
        at: At,
    ) -> None:
        self.path = path
        self.start = start
        self.limits = limits
        self.redact = redact
        self.journal = journal
        self.at = at
        self.size = self._size()
        self.slot = journal.slot(path)
        self.stored = 0
        self.uncertain = self.slot is not None
        self.heard = False
        """True once the storage has answered any request."""

    def step(self) -> bool:
        """Send what is missing; return True once the blob is complete. Raises Transient if no bytes were accepted."""
        try:
            return self._step()
        except CallFailed as error:
            self.uncertain = True
            raise self._as_error(error) from error

    def _step(self) -> bool:
        if self.slot is None:
            self.slot, self.stored, self.uncertain = self.start(), 0, False
            self.journal.begun(self.path, self.slot)
        if self.uncertain:
            before = self.stored
            if self._is_whole(self._put(b"", f"bytes */{self.size}")):
                return True
            if self.stored > before:
                return False
        if self._size() != self.size:
            raise Corrupt(f"{self.path} changed while it was sent")
        before = self.stored
        if self._is_whole(self._send_rest()):
            return True
        if self.stored > before:
            return False
        raise Transient(f"upload of {self.path.name}: the storage accepted none of the bytes sent")

    def _send_rest(self) -> requests.Response:
        if self.size == 0:
            return self._put(b"", None)
        whole = None if self.stored == 0 else f"bytes {self.stored}-{self.size - 1}/{self.size}"
        with disk_errors(self.path):
            file = _TrackedFile(self.path, self.at)
        with file:
            file.seek(self.stored)
            try:
                return self._put(file, whole)
            except CallFailed as error:
                if file.failed is not None:
                    raise disk_error(file.failed, self.path) from error
                raise

    def _put(self, body: Any, content_range: str | None) -> requests.Response:
        assert self.slot is not None
        headers = {"Content-Type": "application/octet-stream"}
        if content_range is not None:
            headers["Content-Range"] = content_range
        self.uncertain = True
        with BoundedSession(self.limits) as session, transport_errors(self.redact):
            response = session.put(self.slot.url, data=body, headers=headers, stream=True, allow_redirects=False)
            session.restart()
            self.heard = True
            with response:
                check_status(response, session.read_whole(response), self.redact)
                return response

    def _is_whole(self, response: requests.Response) -> bool:
        """Return whether the storage has the whole blob; if not, record the offset to continue from."""
        if response.status_code in (200, 201):
            return True
        if response.status_code != 308:
            raise HttpStatus(response.status_code, "not a valid answer to an upload")
        found = re.fullmatch(r"bytes=0-(\d{1,18})", response.headers.get("Range", ""))
        self.stored = int(found[1]) + 1 if found else 0
        if self.stored >= self.size > 0:  # all bytes arrived but the upload is not final: probe again
            raise Transient(f"upload of {self.path.name}: the storage has not finished yet")
        self.uncertain = False
        return False

    def _as_error(self, error: CallFailed) -> RelayError:
        what = f"upload of {self.path.name}"
        if isinstance(error, HttpStatus) and (error.status in (401, 403, 404, 410) or error.status < 400):
            self.slot = None
            return Transient(f"{what}: {error}; the upload starts over")
        return as_read(error, what)

    def _size(self) -> int:
        with disk_errors(self.path):
            return self.path.stat().st_size
