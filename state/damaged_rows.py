"""What becomes of rows that relay never wrote: their run is set apart, and an observation counts as not made."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from state.failures import RunDamaged, shortened
from state.machine import IllegalTransition
from state.rows import from_row
from state.sql import Row

Observed = TypeVar("Observed")

UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, IllegalTransition, LookupError, RecursionError, StopIteration,
    TypeError, ValueError,
)  # fmt: skip
"""What reading a row raises that relay never wrote: other words, other types, JSON that is none, a fact out of its order."""


@contextmanager
def of_run(run: str, what: str) -> Iterator[None]:
    """Whatever cannot be read inside comes out as RunDamaged; `what` names it."""
    try:
        yield
    except UNREADABLE as error:
        why = shortened(str(error))
        raise RunDamaged(run, f"{what} cannot be read: {type(error).__name__}{': ' if why else ''}{why}") from error


def readable(kind: type[Observed], rows: Iterable[Row]) -> Iterator[Observed]:
    """The observations that can be read. Of the others nothing is known any more, so Kaggle is asked again; a doctor tells of them."""
    for row in rows:
        try:
            yield from_row(kind, row)
        except UNREADABLE:
            continue
