"""The order in which a view reads: first the rows of one moment, then the clock, so that nothing in them is in the future."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime

from state.reader import Reader


@contextlib.contextmanager
def moment_of(store: Reader, clock: Callable[[], datetime]) -> Iterator[tuple[Reader, datetime]]:
    """Yield a reader of the database as it is now, and the time after that.

    Whatever is written later is not seen, so no duration up to that time is negative unless a clock was set back.
    """
    with store.snapshot_reader() as reader:
        yield reader, clock()


@contextlib.contextmanager
def moment_of_any(store: Reader | None, clock: Callable[[], datetime]) -> Iterator[tuple[Reader | None, datetime]]:
    """Do the same for a home folder that may have no database yet."""
    if store is None:
        yield None, clock()
        return
    with moment_of(store, clock) as moment:
        yield moment
