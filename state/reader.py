"""Everything that is asked of the database, whoever asks: the store within its transactions, or `ReadOnlyStore`, which only reads."""

import contextlib
from abc import ABC, abstractmethod
from datetime import datetime

from state import curves, run_queue
from state.damaged_rows import UNREADABLE, readable
from state.facts import Fact
from state.failures import StoreCorrupt, shortened
from state.fold_check import FoldCache, Remembered, checked, checked_with_facts
from state.leases import Lease
from state.model import (
    CurvePoint,
    LoggedFact,
    MachineTime,
    Metric,
    PollState,
    QuotaRow,
    Request,
    Run,
    RunState,
    Snapshot,
    StepEdges,
    StepSeen,
)
from state.queries import (
    fact_in,
    facts_of,
    open_requests,
    others_calls,
    others_live,
    others_waiting,
    quota_of,
    rows_of,
    stretches,
    watch_of,
)
from state.rows import from_row
from state.run_queue import ChangeToken
from state.sql import Query, Row, moment

NEWEST_FACTS = "SELECT * FROM fact ORDER BY id DESC LIMIT :most"
NEWEST_FACTS_OF = "SELECT * FROM fact WHERE run = :run ORDER BY id DESC LIMIT :most"
RUNS = "SELECT * FROM run ORDER BY created_at, id"
ROLL = "SELECT id, name FROM run ORDER BY created_at, id"
QUOTAS = "SELECT * FROM quota"
LEASE = "SELECT * FROM lease"
METRICS = "SELECT * FROM metric WHERE run = :run ORDER BY session, attempt, number, name"
METRICS_OF_SESSION = """
    SELECT * FROM metric WHERE run = :run AND session = :session AND attempt = :attempt ORDER BY number, name
"""


class Reader(ABC):
    """Runs in one database. Each call is of one moment.

    Every call may raise StoreUnavailable (it may be repeated) or StoreCorrupt.
    """

    def __init__(self) -> None:
        self._remembered = Remembered()

    @abstractmethod
    def _query(self) -> contextlib.AbstractContextManager[Query]:
        """Ask for as long as one transaction lasts."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""

    def _checked(self, query: Query, run: str) -> FoldCache:
        return checked(query, run, self._remembered.of(run))

    def load(self, run: str) -> RunState:
        """The run's state; KeyError for an unknown run, RunDamaged where its facts and rows are not what was written."""
        with self._query() as query:
            found = self._checked(query, run)
        self._remembered.keep(run, found)
        return found.state

    def rows(self, run: str) -> RunState:
        """The run as its rows have it, not held against its log: for lists of many runs. KeyError for an unknown run."""
        with self._query() as query:
            return rows_of(query, run)

    def load_with_facts(self, run: str) -> tuple[RunState, list[tuple[datetime, Fact]]]:
        """The run's state and its log, oldest first, of the same moment; raises as `load` does."""
        with self._query() as query:
            found, facts = checked_with_facts(query, run)
        self._remembered.keep(run, found)
        return found.state, facts

    def snapshot(self, run: str) -> Snapshot:
        """What the core decides from: the run, its open requests, its quota, and the slots that other runs take."""
        with self._query() as query:
            found = self._checked(query, run)
            of = found.state.run
            snapshot = Snapshot(
                state=found.state,
                requests=open_requests(query, run),
                watch=watch_of(query, run),
                quota=quota_of(query, of.owner, of.accelerator),
                others_live=others_live(query, of),
                waiting=others_waiting(query, of),
                others_calls=others_calls(query, of),
            )
        self._remembered.keep(run, found)
        return snapshot

    def facts(self, run: str) -> list[tuple[datetime, Fact]]:
        """The run's log, oldest first."""
        with self._query() as query:
            return list(facts_of(query, run))

    def newest_facts(self, most: int, run: str | None = None) -> list[LoggedFact]:
        """The end of the log of one run, or of all together, oldest first; without what cannot be read."""
        with self._query() as query:
            rows = query(NEWEST_FACTS, most=most) if run is None else query(NEWEST_FACTS_OF, run=run, most=most)
            found = [happened for row in rows if (happened := _happened(row)) is not None]
        return found[::-1]

    # --- runs ----------------------------------------------------------------

    def runs(self) -> list[Run]:
        """Every run whose row can be read, oldest first; `roll` names the others too."""
        with self._query() as query:
            return [*readable(Run, query(RUNS))]

    def roll(self) -> list[tuple[str, str]]:
        """The id of every run, whatever its rows hold, and the name of its pipeline; oldest first."""
        with self._query() as query:
            return [(str(row["id"]), str(row["name"])) for row in query(ROLL)]

    def by_priority(self, most: int) -> tuple[list[str], int]:
        """Ids of so many runs, oldest first, and how many others there are.

        Those that need a person come before those that go on, these before those that are over, newer before older.
        """
        with self._query() as query:
            return run_queue.by_priority(query, most)

    def open_runs(self) -> list[str]:
        """Ids of the runs that may still need something, or of which something is asked, oldest first.

        A cancelled one is among them while its session goes on.
        """
        with self._query() as query:
            return run_queue.open_ids(query)

    def news(self) -> dict[str, ChangeToken]:
        """The same runs, each with a mark that is another one as soon as anybody writes a fact of it or asks something of it."""
        with self._query() as query:
            return run_queue.marks(query)

    # --- observations --------------------------------------------------------

    def watch(self, run: str) -> PollState:
        """What is remembered of looking at Kaggle for a run."""
        with self._query() as query:
            return watch_of(query, run)

    def stretches(self, owner: str, accelerator: str, since: datetime) -> list[MachineTime]:
        """What the account's sessions that relay knows of took of an accelerator after `since`."""
        with self._query() as query:
            return stretches(query, owner, accelerator, since)

    def quotas(self) -> list[QuotaRow]:
        """Every account's hours as last read."""
        with self._query() as query:
            return [*readable(QuotaRow, query(QUOTAS))]

    def metrics(self, run: str, *, session: tuple[int, int] | None = None) -> list[Metric]:
        """The values that a run's sessions reported, in the order of sessions and events."""
        with self._query() as query:
            if session is None:
                return [*readable(Metric, query(METRICS, run=run))]
            number, attempt = session
            rows = query(METRICS_OF_SESSION, run=run, session=number, attempt=attempt)
            return [*readable(Metric, rows)]

    def last_metrics(self, run: str) -> list[Metric]:
        """The newest value of each metric of each stage."""
        with self._query() as query:
            return curves.newest_values(query, run)

    def steps_seen(self, run: str, newest: int) -> list[StepSeen]:
        """When steps were done, in their order: the `newest` ones of each stage, and each stage's first in each session."""
        with self._query() as query:
            return curves.steps_seen(query, run, newest)

    def series(self, run: str, points_max: int) -> list[CurvePoint]:
        """Each metric of each stage over its steps, in that order: never more than `points_max` points a curve.

        Steps that a killed session lost were done again, with the same values: they count once more in a mean of equals.
        """
        with self._query() as query:
            return curves.points(query, run, points_max)

    def step_edges(self, run: str) -> list[StepEdges]:
        """When each session that told of a step told of its first and its last one, in the order of sessions."""
        with self._query() as query:
            return curves.step_edges(query, run)

    def requests(self, run: str) -> tuple[Request, ...]:
        """What was asked of a run and is not obeyed yet, oldest first."""
        with self._query() as query:
            return open_requests(query, run)

    def lease(self) -> Lease | None:
        """The newest lease, run out or not."""
        with self._query() as query:
            return lease_of(query)


def lease_of(query: Query) -> Lease | None:
    """The newest lease, run out or not."""
    row = next(query(LEASE), None)
    try:
        return None if row is None else from_row(Lease, row)
    except UNREADABLE as error:  # whoever works here cannot be known, so nobody may
        raise StoreCorrupt(
            f"the database does not say readably which daemon works on it ({shortened(str(error))}): relay restore brings back a "
            "backup of it"
        ) from error


def _happened(row: Row) -> LoggedFact | None:
    try:
        return LoggedFact(number=row["id"], run=row["run"], at=moment(row["at"]), fact=fact_in(row))
    except UNREADABLE:
        return None
