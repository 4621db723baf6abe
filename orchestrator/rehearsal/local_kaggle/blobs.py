"""Uploads: bytes that arrive in parts, may be interrupted anywhere, and become a dataset's files once complete."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, Rules
from orchestrator.rehearsal.local_kaggle.stored_file import Content


@dataclass
class Blob:
    """Upload. `received` of `size_bytes` bytes are on disk."""

    token: str
    key: str
    """Secret end of the upload's address; it grants write access."""
    name: str
    size_bytes: int
    path: Path
    expires: datetime
    received: int = 0

    @property
    def whole(self) -> bool:
        """True once every byte has arrived."""
        return self.received >= self.size_bytes

    def write(self, offset: int, chunk: bytes) -> None:
        """Store a part. `offset` is at most `received`; bytes beyond the announced size are dropped."""
        kept = chunk[: max(0, self.size_bytes - offset)]
        if not kept:
            return
        assert offset <= self.received, "the caller refuses pieces that leave a hole"
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(kept)
        self.received = max(self.received, offset + len(kept))


class Blobs:
    """All uploads. The caller holds the world's lock."""

    def __init__(self, directory: Path, rules: Rules) -> None:
        self._directory = directory
        self._rules = rules
        self._by_token: dict[str, Blob] = {}
        self._by_key: dict[str, Blob] = {}

    def begin(self, name: str, size_bytes: int, now: datetime) -> Blob:
        """Announce an upload."""
        self._directory.mkdir(parents=True, exist_ok=True)
        token, key = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        path = self._directory / secrets.token_hex(12)
        path.touch()
        expires = now + timedelta(seconds=self._rules.upload_ttl_s)
        blob = Blob(token, key, Path(name).name, size_bytes, path, expires)
        self._by_token[token] = self._by_key[key] = blob
        return blob

    def all(self) -> list[Blob]:
        """Return every upload, in the order of announcement."""
        return list(self._by_token.values())

    def by_key(self, key: str, now: datetime) -> Blob:
        """Return the upload of an address. Raises KaggleRefusal(404) if it never existed or has expired."""
        blob = self._by_key.get(key)
        if blob is None or (now >= blob.expires and not blob.whole):
            raise KaggleRefusal(404, "This upload does not exist or has expired")
        return blob

    def content(self, token: str, now: datetime) -> tuple[str, Content]:
        """Return name and bytes of a finished upload. Raises KaggleRefusal if it is missing or incomplete."""
        blob = self._by_token.get(token)
        if blob is None or not blob.whole:
            raise KaggleRefusal(400, "The file has not been uploaded")
        return blob.name, Content.of_path(blob.path, now)
