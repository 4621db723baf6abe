"""Where examples come from, and which of them a step uses: pure functions of (seed, step), so nothing has to be saved."""

from collections.abc import Sequence

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


def examples_at(items: Sequence[Example], step: int, batch: int, seed: int) -> list[Example]:
    """The `batch` items of step `step` (counted from 1), every item once before any comes again."""
    first = (step - 1) * batch
    return [items[index_at(first + slot, len(items), seed)] for slot in range(batch)]


def each_once_at(items: Sequence[Example], step: int, batch: int, seed: int) -> list[Example]:
    """As `examples_at`, but no item comes twice: the last steps have fewer, or none."""
    first = (step - 1) * batch
    return [items[index_at(position, len(items), seed)] for position in range(first, min(first + batch, len(items)))]


def mixed_at(
    train: Sequence[Example], hard: Sequence[Example], step: int, batch: int, replay: float, seed: int
) -> list[Example]:
    """A step's hard problems, after a share `replay` of problems of every kind."""
    replayed = round(batch * replay)
    return [
        *examples_at(train, step, replayed, derive_seed(seed, "replay")),
        *examples_at(hard, step, batch - replayed, derive_seed(seed, "hard")),
    ]
