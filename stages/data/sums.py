"""Sums of two numbers, made on the spot: a task that a tiny model learns on two cores, with a hard part and a held-out part."""

import hashlib
from dataclasses import dataclass

HELD_OUT_ONE_IN = 5
"""One in so many problems is never trained on."""


@dataclass(frozen=True)
class Example:
    """A problem. `taught` are completions: the right one first, then plausible mistakes."""

    prompt: str
    answer: str
    taught: tuple[str, ...]
    hard: bool


@dataclass(frozen=True)
class Source:
    """Problems by use: `train` and `held_out` share none; `hard` is the part of `train` that needs a carry."""

    train: tuple[Example, ...]
    hard: tuple[Example, ...]
    held_out: tuple[Example, ...]


def sums(end: int) -> Source:
    """All sums of two numbers below `end`, split by a hash that does not tell 7+12 from 12+7."""
    if not 10 <= end <= 100:
        raise ValueError(f"sums:{end} is too small to hold problems out, or has more than two digits to add")
    pairs = [(first, second) for first in range(end) for second in range(end)]
    train = tuple(_example(*pair) for pair in pairs if not held_out(*pair))
    return Source(
        train=train,
        hard=tuple(example for example in train if example.hard),
        held_out=tuple(_example(*pair) for pair in pairs if held_out(*pair)),
    )


def held_out(first: int, second: int) -> bool:
    """Whether this sum is kept for evaluation, whichever way round it is asked."""
    low, high = sorted((first, second))
    return hashlib.sha256(f"{low}+{high}".encode()).digest()[0] % HELD_OUT_ONE_IN == 0


def _example(first: int, second: int) -> Example:
    hard = first % 10 + second % 10 >= 10
    return Example(
        prompt=f"{first}+{second}=?\n",
        answer=str(first + second),
        taught=(_worked(first, second), *_mistakes(first, second, hard=hard)),
        hard=hard,
    )


def _mistakes(first: int, second: int, *, hard: bool) -> tuple[str, ...]:
    """What people get wrong: the carry, and where there is none, a sum of two digits that is off by one or two."""
    if hard:
        return (_worked(first, second, carried=0),)
    return tuple(_worked(first, second, off=off) for off in (-2, -1, 1, 2) if 0 <= first % 10 + second % 10 + off < 10)


def _worked(first: int, second: int, *, off: int = 0, carried: int | None = None) -> str:
    units = first % 10 + second % 10 + off
    carry = units // 10 if carried is None else carried
    tens = first // 10 + second // 10 + carry
    reasoning = f"{first % 10}+{second % 10}={units},{first // 10}+{second // 10}+{carry}={tens}"
    return f"<reasoning>{reasoning}</reasoning><answer>{10 * tens + units % 10}</answer>"
