"""Assumptions about Kaggle by key, and evidence for or against them from one account. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.core.assumed import files, sessions
from orchestrator.core.assumed.values import Assumption, Observation

__all__ = ["ASSUMPTIONS", "Assumption", "Endpoint", "Evidence", "Observation", "Verdict", "fold", "measured"]

ASSUMPTIONS: Mapping[str, Assumption] = {
    assumption.key: assumption
    for assumption in (
        *sessions.PUSHES,
        *sessions.TIMES,
        *sessions.MACHINES,
        *files.OUTPUTS,
        *files.DATASETS,
        *files.MODELS,
        *files.SERVICE,
    )
}
"""Every assumption by its key, in the order of the docs."""

DETAIL_CHARS_MAX = 300


class Endpoint(StrEnum):
    """Server on which something was observed; only what was seen on Kaggle says something about Kaggle."""

    KAGGLE = "kaggle"
    OTHER = "other"
    """Server that RELAY_KAGGLE_URL names, such as the local Kaggle of a rehearsal."""


class Verdict(StrEnum):
    """Result of observing an assumption."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Observation of an assumption on an account; raises ValueError for values that cannot be one."""

    key: str
    verdict: Verdict
    seen_at: datetime
    """Aware time, UTC."""
    detail: str = ""
    """What was seen, in one line: without owner, slug, run id or path of a home; DETAIL_CHARS_MAX at most."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Measured numbers by name, as `Assumption.numbers` lists them: finite, not negative."""
    endpoint: Endpoint = Endpoint.KAGGLE

    def __post_init__(self) -> None:
        """Check the values."""
        if (assumption := ASSUMPTIONS.get(self.key)) is None:
            raise ValueError(f"{self.key}: there is no such assumption")
        if self.seen_at.utcoffset() != timedelta(0):
            raise ValueError(f"{self.key}: the time {self.seen_at} is not in UTC")
        if len(self.detail) > DETAIL_CHARS_MAX or not self.detail.isprintable():
            raise ValueError(f"{self.key}: the detail is not one line of at most {DETAIL_CHARS_MAX} characters")
        if unknown := sorted(set(self.numbers) - set(assumption.numbers)):
            raise ValueError(f"{self.key}: there is no number {unknown[0]}")
        if not all(math.isfinite(number) and number >= 0 for number in self.numbers.values()):
            raise ValueError(f"{self.key}: a number is negative or not finite")


def fold(evidence: Iterable[Evidence]) -> dict[str, Evidence]:
    """Return the evidence that counts for each key: the newest that is not unknown, else the newest.

    Of two with the same time the later one in `evidence` counts. Keys without evidence are absent.
    """
    counting: dict[str, Evidence] = {}
    for seen in sorted(evidence, key=lambda seen: seen.seen_at):
        before = counting.get(seen.key)
        if before is None or before.verdict is Verdict.UNKNOWN or seen.verdict is not Verdict.UNKNOWN:
            counting[seen.key] = seen
    return counting


def measured(evidence: Iterable[Evidence], key: str, number: str) -> list[float]:
    """Return every measured value of a key's number, oldest first."""
    ordered = sorted((seen for seen in evidence if seen.key == key), key=lambda seen: seen.seen_at)
    return [seen.numbers[number] for seen in ordered if number in seen.numbers]
