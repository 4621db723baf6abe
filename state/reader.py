"""All queries on the database, shared by `Store` (within its transactions) and `ReadOnlyStore`."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from state import curves, run_queue
from state.damaged_rows import UNREADABLE, readable
from state.database import Database
from state.facts.base import Fact, LoggedFact
from state.failures import StoreCorrupt, shortened
from state.fold_check import FoldCache, VerifiedStates, checked, checked_with_facts
from state.fold_marks import agrees_with_mark
from state.kept_forecasts import ForecastBasis, forecast_bases
from state.leases import Lease
from state.model.metrics import CurvePoint, Metric, StepEdges, StepSeen
from state.model.poll_state import PollState
from state.model.run_state import Run, RunState
from state.model.snapshot import MachineTime, QuotaRow, Request, Snapshot
from state.queries import (
    fact_in,
    facts_of,
    machine_times,
    needed_by_others,
    open_requests,
    origin_of,
    others_calls,
    others_live,
    others_waiting,
    quota_of,
    rows_of,
    watch_of,
)
from state.rows import from_row
from state.run_queue import ChangeToken
from state.run_rows import AnsweredRequest, ListedRun, RunTotals, listed_runs, requests_made, run_totals
from state.sql import Query, Row, moment

NEWEST_FACTS = "SELECT * FROM fact ORDER BY id DESC LIMIT :most"
NEWEST_FACTS_OF = "SELECT * FROM fact WHERE run = :run ORDER BY id DESC LIMIT :most"
RUNS = "SELECT * FROM run ORDER BY created_at, id"
STATUS = "SELECT status FROM run WHERE id = :run"
RUN_NAMES = "SELECT id, name FROM run ORDER BY created_at, id"
QUOTAS = "SELECT * FROM quota"
LEASE = "SELECT * FROM lease"
METRICS = "SELECT * FROM metric WHERE run = :run ORDER BY session, attempt, number, name"
METRICS_OF_SESSION = """
    SELECT * FROM metric WHERE run = :run AND session = :session AND attempt = :attempt ORDER BY number, name
"""


class Reader(ABC):
    """Queries on the runs of one database. Each call reads one consistent snapshot.

    Every call may raise StoreUnavailable (it may be retried) or StoreCorrupt.
    """

    _trusts_marks = False
    """True if a mark that agrees with every byte of a run's log and rows saves folding the log (see `fold_marks`)."""

    def __init__(self) -> None:
        self._verified_states = VerifiedStates()

    @abstractmethod
    def _query(self) -> contextlib.AbstractContextManager[Query]:
        """Open a transaction and yield its query function."""

    @abstractmethod
    def close(self) -> None:
        """Close the database."""

    @abstractmethod
    def _database_to_read(self) -> Database:
        """Return the database, opened so that reading it keeps nobody from writing."""

    @contextlib.contextmanager
    def snapshot_reader(self) -> Iterator["SnapshotReader"]:
        """Yield a reader all of whose calls see the database as it is now, whatever is written meanwhile.

        For the thread that opened it only.
        """
        database = self._database_to_read()
        with database.transaction() as query:
            yield SnapshotReader(database, query, self._verified_states, marks=self._trusts_marks)

    def _checked(self, query: Query, run: str) -> FoldCache:
        return checked(query, run, self._verified_states.of(run), marks=self._trusts_marks)

    def load(self, run: str) -> RunState:
        """Return the run's state. Raises KeyError for an unknown run, RunDamaged if its facts or rows are damaged."""
        with self._query() as query:
            found = self._checked(query, run)
        self._verified_states.keep(run, found)
        return found.state

    def rows(self, run: str) -> RunState:
        """Return the run's state from its rows, not verified against its log: for lists of many runs.

        Raises KeyError for an unknown run.
        """
        with self._query() as query:
            return rows_of(query, run)

    def status(self, run: str) -> str:
        """Return the run's status from its row, as it stands there. Raises KeyError for an unknown run."""
        with self._query() as query:
            row = next(query(STATUS, run=run), None)
            if row is None:
                raise KeyError(run)
            return str(row["status"])

    def load_with_facts(
        self, run: str, kinds: Collection[type[Fact]] | None = None
    ) -> tuple[RunState, list[tuple[datetime, Fact]]]:
        """Return the run's state and its facts of these kinds (None: all), oldest first, of the same moment.

        Raises as `load` does.
        """
        with self._query() as query:
            found, facts = checked_with_facts(query, run, kinds, marks=self._trusts_marks)
        self._verified_states.keep(run, found)
        return found.state, facts

    def snapshot(self, run: str) -> Snapshot:
        """Return the input of the core's decision: the run, its open requests, its quota, and other runs' slots."""
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
                origin=origin_of(query, found.state),
                needed=needed_by_others(query, run),
            )
        self._verified_states.keep(run, found)
        return snapshot

    def facts(self, run: str) -> list[tuple[datetime, Fact]]:
        """Return the run's log, oldest first."""
        with self._query() as query:
            return list(facts_of(query, run))

    def newest_facts(self, most: int, run: str | None = None) -> list[LoggedFact]:
        """Return the last `most` facts of one run, or of all runs, oldest first. Skips unreadable ones."""
        with self._query() as query:
            rows = query(NEWEST_FACTS, most=most) if run is None else query(NEWEST_FACTS_OF, run=run, most=most)
            found = [happened for row in rows if (happened := _logged_fact(row)) is not None]
        return found[::-1]

    # --- runs ----------------------------------------------------------------

    def runs(self) -> list[Run]:
        """Return every run whose row can be parsed, oldest first; `run_names` includes the others."""
        with self._query() as query:
            return [*readable(Run, query(RUNS))]

    def run_names(self) -> list[tuple[str, str]]:
        """Return (id, pipeline name) of every run, damaged or not, oldest first."""
        with self._query() as query:
            return [(str(row["id"]), str(row["name"])) for row in query(RUN_NAMES)]

    def by_priority(self, most: int) -> tuple[list[str], int]:
        """Return the ids of the `most` most urgent runs, oldest first, and the number of others.

        Parked runs are the most urgent, then active and waiting ones, then runs that are over; newer before older.
        """
        with self._query() as query:
            return run_queue.by_priority(query, most)

    def open_runs(self) -> list[str]:
        """Return the ids of runs that may need work or have open requests, oldest first.

        A cancelled run is included while its session is live.
        """
        with self._query() as query:
            return run_queue.open_ids(query)

    def change_tokens(self) -> dict[str, ChangeToken]:
        """Return the open runs, each with a token that changes with every new fact or request of the run."""
        with self._query() as query:
            return run_queue.change_tokens(query)

    def listed(
        self, now: datetime, runs: Collection[str] | None = None, *, verified: bool = False
    ) -> list[ListedRun | tuple[str, StoreCorrupt]]:
        """Return these runs (None: all) for a list, oldest first; of an unreadable one its id and the error.

        With `verified` an open run whose rows do not agree with its log is one of the unreadable ones.
        """
        with self._query() as query:
            return [*listed_runs(query, now, runs, self._verify if verified else None)]

    def run_totals(self) -> dict[str, RunTotals]:
        """Return the numbers of sessions and of damaged files of every run that has any."""
        with self._query() as query:
            return run_totals(query)

    def _verify(self, query: Query, run: str) -> None:
        """Raise RunDamaged if the run's rows do not agree with its log."""
        if not (self._trusts_marks and agrees_with_mark(query, run)):
            self._checked(query, run)

    def change_mark(self) -> tuple[Any, ...]:
        """Return a value that differs after any change that a status shows."""
        with self._query() as query:
            return run_queue.change_mark(query)

    # --- observations --------------------------------------------------------

    def watch(self, run: str) -> PollState:
        """Return a run's poll state."""
        with self._query() as query:
            return watch_of(query, run)

    def forecast_bases(self, code: str, run: str = "") -> list[ForecastBasis]:
        """Return what forecasts of runs that go on by themselves are computed from, and those that are kept.

        Oldest run first; with `run` that one, or none if it does not go on. `code`: the version of the computing code.
        """
        with self._query() as query:
            return forecast_bases(query, code, run)

    def machine_times(self, owner: str, accelerator: str, since: datetime) -> list[MachineTime]:
        """Return the machine time after `since` of relay's sessions on the account and accelerator."""
        with self._query() as query:
            return machine_times(query, owner, accelerator, since)

    def quotas(self) -> list[QuotaRow]:
        """Return every account's quota as last read."""
        with self._query() as query:
            return [*readable(QuotaRow, query(QUOTAS))]

    def metrics(self, run: str, *, session: tuple[int, int] | None = None) -> list[Metric]:
        """Return the metrics that a run's sessions reported, ordered by session and event."""
        with self._query() as query:
            if session is None:
                return [*readable(Metric, query(METRICS, run=run))]
            number, attempt = session
            rows = query(METRICS_OF_SESSION, run=run, session=number, attempt=attempt)
            return [*readable(Metric, rows)]

    def last_metrics(self, run: str) -> list[Metric]:
        """Return the newest value of each metric of each stage."""
        with self._query() as query:
            return curves.newest_values(query, run)

    def steps_seen(self, run: str, newest: int) -> list[StepSeen]:
        """Return completed steps in order: the `newest` of each stage, and each stage's first in each session."""
        with self._query() as query:
            return curves.steps_seen(query, run, newest)

    def series(self, run: str, points_max: int) -> list[CurvePoint]:
        """Return each metric of each stage over its steps, sorted, with at most `points_max` points per curve.

        Steps that a killed session lost were repeated with the same values, so they count twice in a point's mean.
        """
        with self._query() as query:
            return curves.points(query, run, points_max)

    def step_edges(self, run: str) -> list[StepEdges]:
        """Return the times of each session's first and last reported step, ordered by session."""
        with self._query() as query:
            return curves.step_edges(query, run)

    def step_times(self, run: str, points_max: int) -> list[StepSeen]:
        """Return when steps were completed, by stage and session, thinned as `series` thins curves."""
        with self._query() as query:
            return curves.step_times(query, run, points_max)

    def requests(self, run: str) -> tuple[Request, ...]:
        """Return a run's open requests, oldest first."""
        with self._query() as query:
            return open_requests(query, run)

    def requests_made(self, run: str, most: int) -> list[AnsweredRequest]:
        """Return the last `most` requests about a run, answered or not, newest first."""
        with self._query() as query:
            return requests_made(query, run, most)

    def lease(self) -> Lease | None:
        """Return the newest lease, expired or not; None if there was none."""
        with self._query() as query:
            return lease_of(query)


class SnapshotReader(Reader):
    """Reader of one moment: all its calls share the transaction of `Reader.snapshot_reader`."""

    def __init__(self, database: Database, query: Query, known: VerifiedStates, *, marks: bool) -> None:
        super().__init__()
        self._database, self._held = database, query
        self._verified_states, self._trusts_marks = known, marks

    def _query(self) -> contextlib.AbstractContextManager[Query]:
        return self._database.translating(self._held)

    def _database_to_read(self) -> Database:
        return self._database

    @contextlib.contextmanager
    def snapshot_reader(self) -> Iterator["SnapshotReader"]:
        """Yield this reader, which sees one moment already."""
        yield self

    def close(self) -> None:
        """Do nothing: the transaction ends with its block."""


def lease_of(query: Query) -> Lease | None:
    """Return the newest lease, expired or not; None if there was none."""
    row = next(query(LEASE), None)
    try:
        return None if row is None else from_row(Lease, row)
    except UNREADABLE as error:  # the holder is unknown, so no daemon may act
        raise StoreCorrupt(
            f"the database's lease is damaged ({shortened(str(error))}), so it is unknown which daemon works on it: relay "
            "restore brings back a backup of it"
        ) from error


def _logged_fact(row: Row) -> LoggedFact | None:
    try:
        return LoggedFact(number=row["id"], run=row["run"], at=moment(row["at"]), fact=fact_in(row))
    except UNREADABLE:
        return None
