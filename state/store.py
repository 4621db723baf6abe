"""Store of all runs in one database: append facts and update their rows. Queries are in `reader`."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from state import machine
from state.backups import file_problems
from state.database import Database
from state.facts.base import Fact
from state.facts.run import RunStarted
from state.facts.session import SeenEnded, SessionLost
from state.failures import RunExists, StoreCorrupt
from state.fold_check import FoldCache
from state.fold_marks import NEWEST_FACT_ROW, write_mark
from state.kept_forecasts import ForecastBasis, keep_forecast
from state.leases import Lease, check_fence, taken
from state.model.metrics import Metric
from state.model.poll_state import POLL_TIMES, PollState
from state.model.run_state import RunState
from state.model.snapshot import QuotaRow
from state.reader import Reader, lease_of
from state.rows import to_columns, to_row
from state.sql import Query, scalar, stamp
from state.tables import append_facts, insert, remove_run, upsert, write_changes, write_metrics
from state.upgrade import bring_up_to_date, create

KNOWN_RUN = "SELECT id FROM run WHERE id = :run"
FULFIL = "UPDATE request SET fulfilled_at = :at WHERE id = :id"
OUTDATE = "UPDATE quota SET outdated = 1 WHERE owner = :owner AND accelerator = :accelerator"
RENEW = "UPDATE lease SET expires_at = :at WHERE fence = :fence"
CLEAR_TIMES = f"UPDATE poll_state SET {', '.join(f'{name} = NULL' for name in POLL_TIMES)}"

ENDINGS = (SeenEnded, SessionLost)
"""Facts after which an account's quota reading is outdated."""


class Store(Reader):
    """Runs in one database. Safe to use from several processes; each call is one transaction.

    Every call may raise StoreUnavailable (it changed nothing and may be retried) or StoreCorrupt.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    @classmethod
    def at(cls, home: Path) -> "Store":
        """Open the store in a home folder, which is created if missing."""
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = home / "relay.db"
        create(path)
        database = Database.writable(path)
        bring_up_to_date(database)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return cls(database)

    def close(self) -> None:
        """Do nothing: no connection is kept between calls."""

    def verify(self) -> None:
        """Run SQLite's integrity check on the whole file and check its tables.

        Raises StoreCorrupt if anything is damaged, and StoreUnavailable if the disk fails to return the file's content.

        This also finds a flipped bit in an index, which hides rows from queries and which nothing else detects.
        """
        with self._query() as query:
            problem = next(file_problems(query, self._database.path), "")
        if problem:
            raise StoreCorrupt(
                f"{self._database.path} is damaged ({problem}): relay restore brings back a backup of it, and "
                "relay doctor says what else can be done"
            )

    def _query(self) -> contextlib.AbstractContextManager[Query]:
        return self._database.transaction()

    def _database_to_read(self) -> Database:
        return Database.read_only(self._database.path)

    # --- facts ---------------------------------------------------------------

    def begin_run(
        self,
        fact: RunStarted,
        at: datetime,
        *,
        later: Sequence[tuple[datetime, Fact]] = (),
        metrics: Iterable[Metric] = (),
        instead: bool = False,
    ) -> RunState:
        """Create a run from its first fact and any later facts that are already known, in one transaction.

        With `instead` it replaces everything stored for that run. Raises RunExists, and IllegalTransition if a later
        fact is not allowed; then nothing is written.
        """
        with self._query() as query:
            if instead:
                remove_run(query, fact.run)
            if next(query(KNOWN_RUN, run=fact.run), None) is not None:
                raise RunExists(fact.run)
            state = begun = machine.begin(fact, at)
            insert(query, "run", to_row(begun.run))
            for when, next_fact in later:
                state = machine.apply(state, next_fact, when)
            append_facts(query, fact.run, [(at, fact), *later])
            write_changes(query, begun, state)
            write_mark(query, fact.run)
            write_metrics(query, metrics)
        return state

    def append(
        self,
        run: str,
        facts: Sequence[Fact],
        at: datetime,
        *,
        metrics: Iterable[Metric] = (),
        watch: PollState | None = None,
        fulfilled: int | None = None,
        fence: int | None = None,
    ) -> RunState:
        """Write facts, the rows they fold to, and observations, in one transaction.

        `fulfilled` is the number of the request that they fulfil. Raises IllegalTransition (nothing is written), and
        LeaseLost if `fence` is no longer the newest.
        """
        with self._query() as query:
            if fence is not None:
                _check_fence(query, fence)
            before = self._checked(query, run)
            after = before.state
            for fact in facts:
                after = machine.apply(after, fact, at)
            append_facts(query, run, [(at, fact) for fact in facts])
            write_changes(query, before.state, after)
            if facts:
                write_mark(query, run)
            if any(isinstance(fact, ENDINGS) for fact in facts):
                query(OUTDATE, owner=after.run.owner, accelerator=after.run.accelerator)
            newest = next(query(NEWEST_FACT_ROW, run=run))
            known = FoldCache(newest["id"], after, newest["digest"])
            write_metrics(query, metrics)
            if watch is not None:
                upsert(query, "poll_state", {"run": run, **to_row(watch)}, ["run"])
            if fulfilled is not None:
                query(FULFIL, id=fulfilled, at=stamp(at))
        self._verified_states.keep(run, known)  # only after the commit
        return after

    # --- observations --------------------------------------------------------

    def clear_poll_times(self, fence: int) -> None:
        """Clear the times of polls and retries, which are meaningless after a clock change.

        Failure counts are kept. Raises LeaseLost if `fence` is no longer the newest.
        """
        with self._query() as query:
            _check_fence(query, fence)
            query(CLEAR_TIMES)

    def write_quota(self, quota: QuotaRow) -> None:
        """Store the account's weekly quota."""
        with self._query() as query:
            upsert(query, "quota", to_row(quota), ["owner", "accelerator"])

    def keep_forecast(self, of: ForecastBasis, at: datetime, part: dict[str, Any]) -> None:
        """Store a run's forecast, computed from `of` at that time. Lists read it instead of computing it."""
        with self._query() as query:
            keep_forecast(query, of, at, part)

    # --- requests ------------------------------------------------------------

    def request(self, run: str, verb: str, arguments: dict[str, str], at: datetime) -> int:
        """Record a request, which the next tick carries out. Returns its number."""
        with self._query() as query:
            values = {"run": run, "verb": verb, "arguments": arguments, "made_at": at}
            insert(query, "request", to_columns(values))
            return int(scalar(query("SELECT last_insert_rowid() AS id"), "id"))

    # --- the lease -----------------------------------------------------------

    def take_lease(
        self, holder: str, now: datetime, lasts_s: float, alive: Callable[[str], bool | None] = lambda holder: None
    ) -> Lease:
        """Take the daemon's lease, by the rules of `leases.taken`. Raises LeaseHeld while another's lease is valid."""
        with self._query() as query:
            lease = taken(lease_of(query), holder, now, lasts_s, alive)
            upsert(query, "lease", {"name": "daemon", **to_row(lease)}, ["name"])
        return lease

    def keep_lease(self, lease: Lease, now: datetime, lasts_s: float) -> Lease:
        """Renew the lease. Raises LeaseLost if another daemon took it."""
        kept = lease.until(now, lasts_s)
        with self._query() as query:
            _check_fence(query, lease.fence)
            query(RENEW, fence=lease.fence, at=stamp(kept.expires_at))
        return kept

    def release_lease(self, lease: Lease, now: datetime) -> None:
        """Release the lease, so that the next daemon need not wait until it expires."""
        with self._query() as query:
            query(RENEW, fence=lease.fence, at=stamp(now))


def _check_fence(query: Query, fence: int) -> None:
    check_fence(fence, scalar(query("SELECT fence FROM lease"), "fence"))
