"""Resumable uploads of blobs: one PUT streamed from the disk, and after a cut only what the server does not have yet.

The protocol is Google Cloud Storage's, which Kaggle hands out addresses for: a PUT of the whole body; after a failure a probe
with `Content-Range: bytes */N`, which is answered 200/201 (it is all there), 308 with `Range: bytes=0-K` (go on at K+1) or
404 (the upload is forgotten: begin a new one). Where each file goes is noted on disk (`half_sent`), so that a process that is
killed costs no more than the piece that was on its way.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from orchestrator.base.disk import on_disk, refusal
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
    honest_errors,
)
from orchestrator.kaggle.upload_journal import Slot, UploadJournal

NOWHERE = UploadJournal()


def upload(
    path: Path,
    start: Callable[[], Slot],
    limits: TransportLimits,
    patience: RetryPolicy,
    redact: Redact,
    half_sent: UploadJournal = NOWHERE,
) -> str:
    """Send one file; the token of the blob. `start` opens a new upload and raises Transient where that fails.

    What an earlier process noted in `half_sent` is gone on with: only what the storage does not have yet is sent.

    Raises Refused where the storage declines, Transient where patience ran out (nothing refers to the blob yet, so beginning
    again is safe), Corrupt where the file changed meanwhile, Permanent where it is gone, DiskRefused where it cannot be read.
    """
    sending = _Sending(path, start, limits, redact, half_sent)
    try:
        while not patience(sending.step):
            pass  # the server has more than before: patience begins anew
    except Transient:
        if not sending.heard:
            half_sent.begin_anew(path)
        raise
    assert sending.slot is not None
    return sending.slot.token


class _Read(io.FileIO):
    """A file to send, which remembers where this disk failed: what sends it takes that for the connection's fault."""

    failed: OSError | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return super().read(size) or b""
        except OSError as error:
            self.failed = error
            raise


class _Sending:
    def __init__(
        self, path: Path, start: Callable[[], Slot], limits: TransportLimits, redact: Redact, half_sent: UploadJournal
    ) -> None:
        self.path = path
        self.start = start
        self.limits = limits
        self.redact = redact
        self.half_sent = half_sent
        self.size = self._size()
        self.slot = half_sent.slot(path)
        self.stored = 0
        self.uncertain = self.slot is not None
        self.heard = False
        """Whether the storage has answered at all."""

    def step(self) -> bool:
        """Whether the blob is whole. Raises Transient where a step did not bring it further."""
        try:
            return self._step()
        except CallFailed as error:
            self.uncertain = True
            raise self._meaning(error) from error

    def _step(self) -> bool:
        if self.slot is None:
            self.slot, self.stored, self.uncertain = self.start(), 0, False
            self.half_sent.begun(self.path, self.slot)
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
        raise Transient(f"upload of {self.path.name}: the storage took nothing of what was sent")

    def _send_rest(self) -> requests.Response:
        if self.size == 0:
            return self._put(b"", None)
        whole = None if self.stored == 0 else f"bytes {self.stored}-{self.size - 1}/{self.size}"
        with on_disk(self.path):
            file = _Read(self.path)
        with file:
            file.seek(self.stored)
            try:
                return self._put(file, whole)
            except CallFailed as error:
                if file.failed is not None:
                    raise refusal(file.failed, self.path) from error
                raise

    def _put(self, body: Any, content_range: str | None) -> requests.Response:
        assert self.slot is not None
        headers = {"Content-Type": "application/octet-stream"}
        if content_range is not None:
            headers["Content-Range"] = content_range
        self.uncertain = True
        with BoundedSession(self.limits) as session, honest_errors(self.redact):
            response = session.put(self.slot.url, data=body, headers=headers, stream=True, allow_redirects=False)
            session.restart()
            self.heard = True
            with response:
                check_status(response, session.read_whole(response), self.redact)
                return response

    def _is_whole(self, response: requests.Response) -> bool:
        """Whether the storage has everything; notes where to go on where it has not."""
        if response.status_code in (200, 201):
            return True
        if response.status_code != 308:
            raise HttpStatus(response.status_code, "an upload is not answered so")
        found = re.fullmatch(r"bytes=0-(\d{1,18})", response.headers.get("Range", ""))
        self.stored = int(found[1]) + 1 if found else 0
        if self.stored >= self.size > 0:  # all is there and yet it is not done: only asking again can tell
            raise Transient(f"upload of {self.path.name}: the storage has not finished yet")
        self.uncertain = False
        return False

    def _meaning(self, error: CallFailed) -> RelayError:
        what = f"upload of {self.path.name}"
        if isinstance(error, HttpStatus) and (error.status in (401, 403, 404, 410) or error.status < 400):
            self.slot = None
            return Transient(f"{what}: {error}; the upload begins anew")
        return as_read(error, what)

    def _size(self) -> int:
        with on_disk(self.path):
            return self.path.stat().st_size
