"""Short-lived download links: a link gives access to one file, without credentials, until it expires."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal
from orchestrator.rehearsal.local_kaggle.stored_file import Content


@dataclass(frozen=True)
class Link:
    """The file and the expiry time of one download link."""

    content: Content
    expires: datetime


class Links:
    """All links that have not expired. The caller holds the world's lock."""

    def __init__(self, ttl_s: float) -> None:
        self.base = ""
        """Scheme, host and port of the server; set once it listens."""
        self._ttl = timedelta(seconds=ttl_s)
        self._links: dict[str, Link] = {}

    def issue(self, area: str, content: Content, name: str, now: datetime) -> str:
        """Return a new link below `/files/<area>/` that ends in the file's name."""
        for token, link in list(self._links.items()):  # links expire in the order in which they were issued
            if now < link.expires:
                break
            del self._links[token]
        token = secrets.token_urlsafe(18)
        self._links[token] = Link(content, now + self._ttl)
        return f"{self.base}/files/{area}/{token}/{quote(name)}"

    def follow(self, token: str, now: datetime) -> Content:
        """Return the file behind a link. Raises KaggleRefusal(403) if the link has expired or never existed."""
        link = self._links.get(token)
        if link is None or now >= link.expires:
            raise KaggleRefusal(403, "This link has expired")
        return link.content
