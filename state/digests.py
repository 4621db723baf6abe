"""The chain of digests over the facts of a run: a fact that was changed, removed or moved no longer fits the one after it. Pure.

SQLite has no checksums over its pages, so a bit that a disk turns over in a fact reads like any other text.
"""

import hashlib
import json
from datetime import datetime
from typing import Any

from state.sql import stamp

BEGINNING = ""
"""What the first fact of a run is linked to."""


def link(before: str, run: str, at: datetime, name: str, data: Any) -> str:
    """The digest of a fact that follows the one with the digest `before`; `data` is its document, or the JSON of that."""
    text = data if isinstance(data, str) else json.dumps(data)
    return hashlib.sha256("\n".join((before, run, stamp(at), name, text)).encode()).hexdigest()
