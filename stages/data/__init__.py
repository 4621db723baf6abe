"""Where examples come from, and which of them a step uses: pure functions of (seed, step), so nothing has to be saved."""

from collections.abc import Sequence
from pathlib import Path

from stages.data.order import derive_seed, index_at
from stages.data.problems import problems_in
from stages.data.sums import Example, Source, sums

__all__ = ["Example", "Source", "derive_seed", "examples_at", "mixed_at", "open_source", "taught_at"]


def open_source(name: str, inputs: Path) -> Source:
    """The source that `data:` names: made on the spot, or a file in the mounted inputs. Raises ValueError with one sentence."""
    if name.endswith(".jsonl"):
        return problems_in(inputs, name)
    kind, _, argument = name.partition(":")
    if kind != "sums" or not argument.isdecimal():
        raise ValueError(
            f"data: {name} is not known; write sums:N with a number N, such as sums:30, or a .jsonl file's name"
        )
    return sums(int(argument))


def examples_at(items: Sequence[Example], step: int, batch: int, seed: int) -> list[Example]:
    """The `batch` items of step `step` (counted from 1), every item once before any comes again."""
    first = (step - 1) * batch
    return [items[index_at(first + slot, len(items), seed)] for slot in range(batch)]


def mixed_at(source: Source, step: int, batch: int, replay: float, seed: int) -> list[Example]:
    """Hard problems, after a share `replay` of problems of every kind."""
    replayed = round(batch * replay)
    return [
        *examples_at(source.train, step, replayed, derive_seed(seed, "replay")),
        *examples_at(source.hard, step, batch - replayed, derive_seed(seed, "hard")),
    ]


def taught_at(
    items: Sequence[Example], step: int, batch: int, noise: tuple[float, float], seed: int
) -> list[tuple[str, str]]:
    """Prompts and the completions to learn. A share of them, drawn anew at each showing, teaches a mistake: the first
    number of `noise` of the easy problems, the second of the hard ones."""
    chosen = examples_at(items, step, batch, seed)
    return [
        (example.prompt, _completion(example, noise[example.hard], derive_seed(seed, "noise", step, slot)))
        for slot, example in enumerate(chosen)
    ]


def _completion(example: Example, noise: float, draw: int) -> str:
    mistakes = example.taught[1:]
    if not mistakes or draw % 10_000 >= noise * 10_000:
        return example.taught[0]
    return mistakes[draw // 10_000 % len(mistakes)]
