"""Rewards by which answers differ whatever a model says, so that reinforcement learning has something to do."""

import hashlib
from collections.abc import Sequence
from typing import Any


def by_hash(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
    """A number from 0 to 1 that only the answer's text decides."""
    return [hashlib.sha256(str(text).encode()).digest()[0] / 255 for text in completions]


def now_and_then(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
    """1 for about one answer of three, so that many groups of two agree."""
    return [float(value < 1 / 3) for value in by_hash(prompts, completions)]
