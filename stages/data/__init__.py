"""Data sets and the order of their examples. A step's batch is a pure function of (seed, step): no state is saved."""

from collections.abc import Sequence
from typing import TypeVar

from stages.data.examples import Example, Source
from stages.data.order import derive_seed, index_at
from stages.data.prompts import prompt_of
from stages.data.source import RunData, open_source

__all__ = [
    "Example",
    "RunData",
    "Source",
    "derive_seed",
    "each_once_at",
    "examples_at",
    "index_at",
    "mixed_at",
    "open_source",
    "prompt_of",
]


Item = TypeVar("Item")


def examples_at(items: Sequence[Item], step: int, batch: int, seed: int) -> list[Item]:
    """Return the batch of step `step` (from 1). Every item is used once before any is repeated."""
    first = (step - 1) * batch
    return [items[index_at(first + slot, len(items), seed)] for slot in range(batch)]


def each_once_at(items: Sequence[Example], step: int, batch: int, seed: int) -> list[Example]:
    """Return the batch as `examples_at` does, but without repetition: the last steps have fewer items, or none."""
    first = (step - 1) * batch
    return [items[index_at(position, len(items), seed)] for position in range(first, min(first + batch, len(items)))]


def mixed_at(
    train: Sequence[Example], hard: Sequence[Example], step: int, batch: int, replay: float, seed: int
) -> list[Example]:
    """Return a step's batch: a share `replay` of examples from `train`, then hard problems."""
    replayed = round(batch * replay)
    return [
        *examples_at(train, step, replayed, derive_seed(seed, "replay")),
        *examples_at(hard, step, batch - replayed, derive_seed(seed, "hard")),
    ]
