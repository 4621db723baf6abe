"""From the names of data sets to the examples of a stage: chosen, free of doubles, and sharing nothing with what is held out."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.data.examples import Example, Source
from stages.data.fields import Unfit
from stages.data.files import Rows
from stages.data.order import derive_seed, index_at
from stages.data.overlap import Asked
from stages.data.problems import problems_in
from stages.data.rows import open_rows
from stages.data.sets import KNOWN
from stages.options.training import set_and_count

Wants = Callable[[Example], str]
"""'' keeps an example; anything else is why it is left out, in a few words."""


@dataclass(frozen=True)
class Pool:
    """All of one set."""

    name: str
    train: Rows
    held_out: Rows
    example: Callable[[Any], Example]
    notes: tuple[str, ...] = ()


def open_source(
    names: Sequence[str],
    inputs: Path,
    *,
    seed: int,
    wants: Wants,
    apart_from: Sequence[str] = (),
    scratch: Path | None = None,
) -> Source:
    """The examples of the sets that `data:` names, each `name` or `name:count`; the same files give the same Source.

    `train` has of each set the first `count` (or all) that `wants` keeps, in an order that depends on the seed and the
    set's name. What overlaps with its own held-out part or with that of a set in `apart_from` is left out: see `stages.data.overlap`. `held_out` has what `wants` keeps of the sets' own test splits, at most `count` of each,
    the same whatever the seed, so that runs can be compared. `scratch` takes what reading needs; without it a temporary folder does.

    Raises ValueError (a name that is not known or a file that does not fit) and StageFailed `data-missing`, each with one
    sentence.
    """
    counts = _counts(names)
    with _cache(scratch) as cache:
        others = [set_and_count(name)[0] for name in apart_from]
        pools = {name: _open(name, inputs, cache) for name in dict.fromkeys((*counts, *others))}
        asked = Asked()
        for pool in pools.values():
            for example in _examples(pool.held_out, pool.example):
                asked.add(pool.name, example.question, example.code)
        left_out: Counter[str] = Counter()
        train = [
            example
            for name, count in counts.items()
            for example in _train(pools[name], count, derive_seed(seed, "choice", name), asked, wants, left_out)
        ]
        held_out = [
            example for name, count in counts.items() for example in _held_out(pools[name], count, wants, left_out)
        ]
    notes = tuple(note for pool in pools.values() for note in pool.notes)
    return Source(train=tuple(train), held_out=tuple(held_out), left_out=left_out, notes=notes)


def _train(pool: Pool, count: int, seed: int, asked: Asked, wants: Wants, left_out: Counter[str]) -> Iterator[Example]:
    seen: set[str] = set()

    def refused(example: Example) -> str:
        if example.question in seen:
            return "twice"
        if other := asked.by(example.question, example.code):
            return f"overlaps with {other}"
        return wants(example)

    for example in _kept(pool.train, pool.example, count, seed, refused, f"{pool.name}: ", left_out):
        seen.add(example.question)
        yield example


def _held_out(pool: Pool, count: int, wants: Wants, left_out: Counter[str]) -> Iterator[Example]:
    seed = derive_seed("held out", pool.name)
    return _kept(pool.held_out, pool.example, count, seed, wants, f"{pool.name} (held out): ", left_out)


def _kept(
    rows: Rows, adapt: Callable[[Any], Example], count: int, seed: int, refused: Wants, of: str, left_out: Counter[str]
) -> Iterator[Example]:
    """The first `count` examples that nothing speaks against; reading ends with the last of them."""
    kept = 0
    for position in range(len(rows)):
        try:
            example = adapt(rows[index_at(position, len(rows), seed)])
            reason = refused(example)
        except Unfit as unfit:
            reason = str(unfit)
        if reason:
            left_out[of + reason] += 1
            continue
        yield example
        kept += 1
        if kept == count:
            return


def _examples(rows: Rows, adapt: Callable[[Any], Example]) -> Iterator[Example]:
    for number in range(len(rows)):
        try:
            yield adapt(rows[number])
        except Unfit:
            continue


def _counts(names: Sequence[str]) -> Mapping[str, int]:
    """How many examples of each set, 0 for all. Raises ValueError for a set that is named twice."""
    counts: dict[str, int] = {}
    for name in names:
        found, count = set_and_count(name)
        if found in counts:
            raise ValueError(f"data: {found} is named twice: name it once, with the larger number")
        counts[found] = count
    return counts


def _open(name: str, inputs: Path, cache: Path) -> Pool:
    if name.endswith(".jsonl"):
        train, held_out = problems_in(inputs, name)
        return Pool(name, train, held_out, lambda example: example)
    known = KNOWN.get(name)
    if known is None:
        raise ValueError(f"data: {name} is not known; there are {', '.join(KNOWN)}, and .jsonl files of inputs.files")
    opened = open_rows(known, inputs, cache)
    return Pool(name, opened.train, opened.held_out, known.example, opened.notes)


@contextmanager
def _cache(scratch: Path | None) -> Iterator[Path]:
    if scratch is not None:
        yield scratch / "data-sets"
        return
    with tempfile.TemporaryDirectory(prefix="relay-data-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
