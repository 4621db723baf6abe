"""Evidence as a JSON document, for the home folder and, without names, for others. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.core.assumptions import ASSUMPTIONS, Endpoint, Evidence, Verdict
from stages.safe_text import OddJson, read_json

FORMAT = 1
KIND = "relay-evidence"
"""Value of `kind`, by which a file of evidence is recognised."""
ENTRIES_MAX = 10_000
"""Maximum number of entries in one document."""

PLAIN_PARTS = frozenset(
    ("", "kaggle", "input", "working", "src", "tmp", "datasets", "notebooks", "models", "{owner}", "{slug}", "{model}")
)
"""Parts of a path that belong to Kaggle or are placeholders."""
REVEALING = re.compile(r"[@~\\]|:/|[0-9a-f]{8}|-[0-9a-f]{4}(?![0-9a-z])|-[sc]\d{4}", re.IGNORECASE)
"""Addresses, folders, digests, run ids, and names of relay's kernels and datasets."""


@dataclass(frozen=True)
class EvidenceRead:
    """Evidence of a document, and the number of entries whose key this version of relay does not know."""

    evidence: tuple[Evidence, ...]
    unknown: int = 0


def document(evidence: Iterable[Evidence]) -> dict[str, Any]:
    """Return evidence as JSON values, in the given order."""
    return {
        "format": FORMAT,
        "kind": KIND,
        "evidence": [
            {
                "key": seen.key,
                "verdict": seen.verdict.value,
                "seen_at": seen.seen_at.isoformat(),
                "detail": seen.detail,
                "numbers": dict(sorted(seen.numbers.items())),
                "endpoint": seen.endpoint.value,
            }
            for seen in evidence
        ],
    }


def written(evidence: Iterable[Evidence]) -> bytes:
    """Return a document as the bytes of a file."""
    return (json.dumps(document(evidence), indent=1, ensure_ascii=False) + "\n").encode()


def read(data: bytes) -> EvidenceRead:
    """Parse the bytes of a file. Raises ValueError with what is wrong, as a clause."""
    try:
        found = read_json(data)
    except (OddJson, UnicodeDecodeError) as error:
        raise ValueError("it is not a JSON document") from error
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise ValueError("it is not a file of evidence")
    if found.get("format") != FORMAT:
        raise ValueError("its format is of another version of relay")
    entries = found.get("evidence")
    if not isinstance(entries, list) or len(entries) > ENTRIES_MAX:
        raise ValueError(f"`evidence` is not a list of at most {ENTRIES_MAX:,} entries")
    known = [entry for entry in entries if not _is_of_newer_relay(entry)]
    return EvidenceRead(tuple(_entry(entry) for entry in known), len(entries) - len(known))


def _is_of_newer_relay(entry: Any) -> bool:
    key = entry.get("key") if isinstance(entry, dict) else None
    return isinstance(key, str) and key not in ASSUMPTIONS


def _entry(entry: Any) -> Evidence:
    try:
        numbers = entry["numbers"]
        if not isinstance(numbers, Mapping) or not isinstance(entry["detail"], str):
            raise TypeError
        return Evidence(
            key=entry["key"],
            verdict=Verdict(entry["verdict"]),
            seen_at=datetime.fromisoformat(entry["seen_at"]),
            detail=entry["detail"],
            numbers={name: _number(value) for name, value in numbers.items()},
            endpoint=Endpoint(entry.get("endpoint", Endpoint.KAGGLE)),  # an older relay did not record it
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError("an entry lacks a value, or has one of another type") from error


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return float(value)


def anonymous(evidence: Iterable[Evidence], names: Iterable[str]) -> list[Evidence]:
    """Return evidence that can be handed to others: days instead of times, and no detail that reveals the account.

    `names` are all names of the account and of this machine: owner, runs, pipelines, user, host.
    """
    folded = [name.casefold() for name in names if name]
    return [
        replace(seen, seen_at=_day(seen.seen_at), detail="" if reveals(seen.detail, folded) else seen.detail)
        for seen in evidence
    ]


def _day(at: datetime) -> datetime:
    return datetime(at.year, at.month, at.day, tzinfo=UTC)


def reveals(detail: str, names: Iterable[str]) -> bool:
    """Return True if a detail contains one of the names (in folded case), a path of a machine, or a name of a run."""
    folded = detail.casefold()
    if any(name in folded for name in names) or REVEALING.search(detail):
        return True
    paths = (word for word in re.split(r"[\s,;()`'\"]+", folded) if "/" in word)
    return any(part.strip(".:") not in PLAIN_PARTS for word in paths for part in word.split("/"))
