"""What a refusal of a name or of bytes is about, by Kaggle's own words: which of them another name or more room would mend."""

import re

from orchestrator.base.errors import NameTaken, NoRoom, Refused

TAKEN = re.compile(
    r"\balready (in use|exists?|taken)\b|\bis (taken|in use)\b|\b(title|slug|name)\b[^.]*\b(not available|unavailable|invalid)\b"
    r"|\bchoose another (title|name|slug)\b|\bHTTP 409\b",
    re.IGNORECASE,
)
"""A name that belongs to something else, or to something that was deleted."""

POISONED = re.compile(r"\bnotebook not found\b|\bkernel not found\b", re.IGNORECASE)
"""What a push under the name of a kernel that was deleted is answered."""

ROOM = re.compile(
    r"\b(storage|disk|space)\b|\bquota\b|\btoo (large|big)\b|\b(size|capacity)\b[^.]*\b(limit|exceed\w*|maximum)\b"
    r"|\bexceed\w*\b[^.]*\b(limit|size|GB|GiB|gigabytes?)\b",
    re.IGNORECASE,
)
"""Room that the account does not have."""

BLOBS = re.compile(
    r"\b(tokens?|blobs?|uploads?|uploaded)\b|\bfiles?\b.*\b(not found|missing|expired|invalid)\b", re.IGNORECASE
)
"""What was sent is at fault, so that it has to be sent again."""


def dataset_refused(slug: str, reason: str) -> Refused:
    """The error for a dataset that Kaggle declined to create in these words."""
    text = f"Kaggle declined to create the dataset {slug}: {reason}"
    if TAKEN.search(reason):
        return NameTaken(text)
    return NoRoom(text) if ROOM.search(reason) else Refused(text)


def name_refused(reason: str) -> bool:
    """Whether a push was declined for the kernel's name."""
    return bool(TAKEN.search(reason) or POISONED.search(reason))


def spoils_uploads(error: Refused) -> bool:
    """Whether the bytes that were sent are of no more use: else they are kept, since another try needs them as they are."""
    return not isinstance(error, (NameTaken, NoRoom)) and bool(BLOBS.search(str(error)))
