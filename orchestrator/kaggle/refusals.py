"""Classifies Kaggle's refusals by their wording: a taken name, missing room, or rejected uploads."""

import re

from orchestrator.base.errors import NameTaken, NoRoom, Permanent, Refused
from orchestrator.platforms.port import DATASET_DECLINED, ROOM, SOURCES_NOT_ACCEPTED

TAKEN = re.compile(
    r"\balready (in use|exists?|taken)\b|\bis (taken|in use)\b|\b(title|slug|name)\b[^.]*\b(not available|unavailable|invalid)\b"
    r"|\bchoose another (title|name|slug)\b|\bHTTP 409\b",
    re.IGNORECASE,
)
"""Wording for a name that belongs to something else, or to something that was deleted."""

DELETED_KERNEL = re.compile(r"\bnotebook not found\b|\bkernel not found\b", re.IGNORECASE)
"""Answer to a push under the name of a deleted kernel."""


BLOBS = re.compile(
    r"\b(tokens?|blobs?|uploads?|uploaded)\b|\bfiles?\b.*\b(not found|missing|expired|invalid)\b", re.IGNORECASE
)
"""Wording for rejected uploads, which have to be sent again."""


def sources_refused(ref: str, rejected: str) -> Permanent:
    """Return the error for a kernel that was pushed and has not all of its sources."""
    return Permanent(
        f"Kaggle {SOURCES_NOT_ACCEPTED} of {ref}: {rejected}; the kernel runs now without its input and spends quota: stop "
        "it on its page. Fix the source on Kaggle, or correct a misspelt one with relay retry --pipeline FILE; a "
        "checkpoint of the run itself that was deleted is published again"
    )


def cannot_stop(slug: str) -> Refused:
    """Return the error for a session that relay should stop: it has no call for that on Kaggle."""
    return Refused(f"relay does not stop sessions on Kaggle: stop {slug} on its page")


def dataset_refused(slug: str, reason: str) -> Refused:
    """Map the reason for which Kaggle declined to create a dataset to an error."""
    text = f"{DATASET_DECLINED} {slug}: {reason}"
    if TAKEN.search(reason):
        return NameTaken(text)
    return NoRoom(text) if ROOM.search(reason) else Refused(text)


def name_refused(reason: str) -> bool:
    """Return whether a push was declined because of the kernel's name."""
    return bool(TAKEN.search(reason) or DELETED_KERNEL.search(reason))


def invalidates_uploads(error: Refused) -> bool:
    """Return whether the uploaded bytes are useless now; otherwise they are kept for the next attempt."""
    return not isinstance(error, (NameTaken, NoRoom)) and bool(BLOBS.search(str(error)))
