"""Verify a run's rows against its log: the whole log the first time, later only the new facts."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from state.damaged_rows import UNREADABLE, reporting_damage
from state.digests import BEGINNING
from state.facts.base import Fact
from state.failures import RunDamaged
from state.fold_marks import NEWEST_FACT_ROW, marked_log
from state.model.run_state import RunState
from state.queries import fact_in, facts_of, linked, stored_rows
from state.sql import Query, moment

DIFFERENT = "its facts do not fold to its rows"

FACTS_SINCE = "SELECT * FROM fact WHERE run = :run AND id >= :known ORDER BY id"

PARTS_MAX = 4000
"""Maximum number of cached runs, sessions and checkpoints, all runs together: about twenty megabytes."""


@dataclass(frozen=True)
class FoldCache:
    """Verified state of a run after the fact with this number and digest."""

    fact: int
    state: RunState
    digest: str = BEGINNING

    @property
    def parts(self) -> int:
        """Size of the entry, in cached values."""
        return 1 + len(self.state.sessions) + len(self.state.checkpoints)


class VerifiedStates:
    """Bounded LRU cache of the states that this process has verified. Evicting one costs a full fold, nothing else.

    It must only hold committed states: never add the result of a transaction that may still fail.
    """

    def __init__(self, parts_max: int = PARTS_MAX) -> None:
        self._states: OrderedDict[str, FoldCache] = OrderedDict()
        self._parts, self._parts_max = 0, parts_max
        self._lock = threading.Lock()

    def of(self, run: str) -> FoldCache | None:
        """Return the cached state of a run; None if there is none."""
        with self._lock:
            return self._states.get(run)

    def keep(self, run: str, checked: FoldCache) -> None:
        """Cache a state, and evict the oldest entries while the cache is too large."""
        with self._lock:
            self._drop(run)
            self._states[run] = checked
            self._parts += checked.parts
            while self._parts > self._parts_max:
                self._drop(next(iter(self._states)))

    def _drop(self, run: str) -> None:
        dropped = self._states.pop(run, None)
        self._parts -= dropped.parts if dropped else 0


def checked(query: Query, run: str, known: FoldCache | None, *, marks: bool = False) -> FoldCache:
    """Return the run's state from its rows, verified against its facts.

    `known` is the state from which the fold continues. With `marks`, the run's mark (see `fold_marks`) saves the fold if
    it agrees with every byte of log and rows. Else the whole log is folded. Raises KeyError for an unknown run, and
    RunDamaged if the rows differ from the fold.
    """
    stored = stored_rows(query, run)
    rows = stored.parsed(run)
    found = None if known is None else _continued(query, run, known)
    if found is not None and found.state == rows:
        return found
    if marks and (log := marked_log(query, run, stored)):
        return FoldCache(log.fact, rows, log.digest)
    return _checked_whole_log(query, run, rows, facts_of(query, run))


def checked_with_facts(
    query: Query, run: str, kinds: Collection[type[Fact]] | None = None, *, marks: bool = False
) -> tuple[FoldCache, list[tuple[datetime, Fact]]]:
    """Return the run's state, verified as by `checked`, and its facts of these kinds (None: all), oldest first."""
    from state.facts.registry import FACTS

    stored = stored_rows(query, run)
    rows = stored.parsed(run)
    if marks and (log := marked_log(query, run, stored)):
        with reporting_damage(run, "its log"):
            mine = [row for row in log.facts if kinds is None or FACTS[row["name"]] in kinds]
            return FoldCache(log.fact, rows, log.digest), [(moment(row["at"]), fact_in(row)) for row in mine]
    facts = list(facts_of(query, run))
    found = _checked_whole_log(query, run, rows, facts)
    return found, [(at, fact) for at, fact in facts if kinds is None or type(fact) in kinds]


def _checked_whole_log(query: Query, run: str, rows: RunState, facts: Iterable[tuple[datetime, Fact]]) -> FoldCache:
    from state import machine  # imported on use, as in `queries.fact_in`

    newest = next(query(NEWEST_FACT_ROW, run=run), None)
    if newest is None:
        raise RunDamaged(run, "it has no facts")
    with reporting_damage(run, "its log"):
        state = machine.fold(facts)
    if state != rows:
        raise RunDamaged(run, DIFFERENT)
    return FoldCache(newest["id"], rows, newest["digest"])


def _continued(query: Query, run: str, known: FoldCache) -> FoldCache | None:
    """Apply the facts after `known`. Return None if the log does not continue it, as after a restored backup."""
    from state import machine

    rows = list(query(FACTS_SINCE, run=run, known=known.fact))
    if not rows or (rows[0]["id"], rows[0]["digest"]) != (known.fact, known.digest):
        return None
    state, fresh = known.state, rows[1:]
    try:
        for at, fact in linked(run, known.digest, fresh):
            state = machine.apply(state, fact, at)
    except (RunDamaged, *UNREADABLE):
        return None  # folding the whole log decides whether the run is damaged
    return FoldCache(fresh[-1]["id"], state, fresh[-1]["digest"]) if fresh else known
