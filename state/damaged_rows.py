"""Treatment of damaged rows: their run raises RunDamaged, and a damaged observation is ignored."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from state.failures import IllegalTransition, RunDamaged, shortened
from state.rows import from_row
from state.sql import Row

Observed = TypeVar("Observed")

UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, IllegalTransition, LookupError, RecursionError, StopIteration,
    TypeError, ValueError,
)  # fmt: skip
"""Exceptions raised by parsing a damaged row: unknown words, wrong types, invalid JSON, a fact out of order."""


@contextmanager
def reporting_damage(run: str, what: str) -> Iterator[None]:
    """Raise RunDamaged for any parse error inside the block; `what` names the data in the message."""
    try:
        yield
    except UNREADABLE as error:
        why = shortened(str(error))
        raise RunDamaged(run, f"{what} cannot be read: {type(error).__name__}{': ' if why else ''}{why}") from error


def readable(kind: type[Observed], rows: Iterable[Row]) -> Iterator[Observed]:
    """Yield the observations that can be parsed. relay polls Kaggle anew for the others; `relay doctor` lists them."""
    for row in rows:
        try:
            yield from_row(kind, row)
        except UNREADABLE:
            continue
