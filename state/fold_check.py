"""The rows of a run, held against its log: all of it the first time, and what is new of it from then on."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from state import machine
from state.damaged_rows import UNREADABLE, of_run
from state.digests import BEGINNING
from state.facts import Fact
from state.failures import RunDamaged
from state.model import RunState
from state.queries import facts_of, linked, rows_of
from state.sql import Query

DIFFERENT = "its facts do not fold to its rows"

NEWEST_FACT_ROW = "SELECT id, digest FROM fact WHERE run = :run ORDER BY id DESC LIMIT 1"
FACTS_SINCE = "SELECT * FROM fact WHERE run = :run AND id >= :known ORDER BY id"

PARTS_MAX = 4000
"""Sessions and checkpoints that are remembered, of all runs together: some twenty megabytes."""


@dataclass(frozen=True)
class FoldCache:
    """What the log of a run folds to, up to and with the fact of that number and digest."""

    fact: int
    state: RunState
    digest: str = BEGINNING

    @property
    def parts(self) -> int:
        """How much it takes to remember."""
        return 1 + len(self.state.sessions) + len(self.state.checkpoints)


class Remembered:
    """The states that this process has checked last, within a bound. Forgetting one costs a fold, nothing else.

    Whatever is kept here was committed, by whomever: a transaction that fails must not be remembered.
    """

    def __init__(self, parts_max: int = PARTS_MAX) -> None:
        self._kept: OrderedDict[str, FoldCache] = OrderedDict()
        self._parts, self._parts_max = 0, parts_max
        self._lock = threading.Lock()

    def of(self, run: str) -> FoldCache | None:
        """What is remembered of a run."""
        with self._lock:
            return self._kept.get(run)

    def keep(self, run: str, checked: FoldCache) -> None:
        """Remember it, and forget what was not asked for longest where there is no room."""
        with self._lock:
            self._drop(run)
            self._kept[run] = checked
            self._parts += checked.parts
            while self._parts > self._parts_max:
                self._drop(next(iter(self._kept)))

    def _drop(self, run: str) -> None:
        dropped = self._kept.pop(run, None)
        self._parts -= dropped.parts if dropped else 0


def checked(query: Query, run: str, known: FoldCache | None) -> FoldCache:
    """The run as its rows have it, which is what its facts fold to; KeyError for an unknown run, else RunDamaged.

    `known` is where the fold goes on from; where the log or the rows are not what follows from it, the whole log decides.
    """
    rows = rows_of(query, run)
    found = None if known is None else _further(query, run, known)
    if found is not None and found.state == rows:
        return found
    return _whole(query, run, rows, facts_of(query, run))


def checked_with_facts(query: Query, run: str) -> tuple[FoldCache, list[tuple[datetime, Fact]]]:
    """The same, from the whole log, and the log itself."""
    rows, facts = rows_of(query, run), list(facts_of(query, run))
    return _whole(query, run, rows, facts), facts


def _whole(query: Query, run: str, rows: RunState, facts: Iterable[tuple[datetime, Fact]]) -> FoldCache:
    newest = next(query(NEWEST_FACT_ROW, run=run), None)
    if newest is None:
        raise RunDamaged(run, "it has no facts")
    with of_run(run, "its log"):
        state = machine.fold(facts)
    if state != rows:
        raise RunDamaged(run, DIFFERENT)
    return FoldCache(newest["id"], rows, newest["digest"])


def _further(query: Query, run: str, known: FoldCache) -> FoldCache | None:
    """What the facts since then make of it; None where the log is another one than was known, as after a restored backup."""
    rows = list(query(FACTS_SINCE, run=run, known=known.fact))
    if not rows or (rows[0]["id"], rows[0]["digest"]) != (known.fact, known.digest):
        return None
    state, fresh = known.state, rows[1:]
    try:
        for at, fact in linked(run, known.digest, fresh):
            state = machine.apply(state, fact, at)
    except (RunDamaged, *UNREADABLE):
        return None  # the whole log says whether it is wrong
    return FoldCache(fresh[-1]["id"], state, fresh[-1]["digest"]) if fresh else known
