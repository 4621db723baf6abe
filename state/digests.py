"""Digest chain over the facts of a run, which detects a changed, removed or moved fact. Pure.

SQLite has no page checksums, so a bit flipped on disk inside a fact would otherwise go unnoticed.
"""

import hashlib
import json
from datetime import datetime
from typing import Any

from state.sql import stamp

BEGINNING = ""
"""Digest that precedes a run's first fact."""


def link(before: str, run: str, at: datetime, name: str, data: Any) -> str:
    """Return the digest of a fact after the one with the digest `before`. `data` is its document, or that as JSON."""
    return link_text(before, run, stamp(at), name, data if isinstance(data, str) else json.dumps(data))


def link_text(before: str, run: str, at: str, name: str, data: str) -> str:
    """Return the same digest from the text of the columns `at` and `data`."""
    return hashlib.sha256("\n".join((before, run, at, name, data)).encode()).hexdigest()
