"""Write transactions, opened by this module only: append facts and update their rows. Queries are in `reader`."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, select, update

from state import machine, schema
from state.backups import file_problems
from state.engine import asking, migrate, open_engine
from state.facts.base import Fact
from state.facts.run import RunStarted
from state.facts.session import SeenEnded, SessionLost
from state.failures import RunExists, StoreCorrupt
from state.fold_check import NEWEST_FACT_ROW, FoldCache
from state.leases import Lease, check_fence, taken
from state.model.metrics import Metric
from state.model.poll_state import FORGOTTEN, PollState
from state.model.run_state import Run, RunState
from state.model.snapshot import QuotaRow
from state.reader import Reader, lease_of
from state.row_upgrades import fold_anew
from state.rows import to_row
from state.sql import Query
from state.tables import append_facts, remove_run, upsert, write_changes, write_metrics

ENDINGS = (SeenEnded, SessionLost)
"""Facts after which an account's quota reading is outdated."""


class Store(Reader):
    """Runs in one database. Safe to use from several processes; each call is one transaction.

    Every call may raise StoreUnavailable (it changed nothing and may be retried) or StoreCorrupt.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    @classmethod
    def at(cls, home: Path) -> "Store":
        """Open the store in a home folder, which is created if missing."""
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = home / "relay.db"
        engine = open_engine(path)
        if migrate(engine):
            fold_anew(engine)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return cls(engine)

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def verify(self) -> None:
        """Run SQLite's integrity check on the whole file and check its tables.

        Raises StoreCorrupt if anything is damaged, and StoreUnavailable if the disk fails to return the file's content.

        This also finds a flipped bit in an index, which hides rows from queries and which nothing else detects.
        """
        with self._query() as query:
            problem = next(file_problems(query, Path(str(self._engine.url.database))), "")
        if problem:
            raise StoreCorrupt(
                f"{self._engine.url.database} is damaged ({problem}): relay restore brings back a backup of it, and "
                "relay doctor says what else can be done"
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _query(self) -> Iterator[Query]:
        with self._transaction() as connection:
            yield asking(connection)

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
        with self._transaction() as connection:
            if instead:
                remove_run(connection, fact.run)
            if connection.execute(select(schema.runs.c.id).where(schema.runs.c.id == fact.run)).first() is not None:
                raise RunExists(fact.run)
            state = begun = machine.begin(fact, at)
            connection.execute(insert(schema.runs).values(to_row(begun.run)))
            for when, next_fact in later:
                state = machine.apply(state, next_fact, when)
            append_facts(connection, fact.run, [(at, fact), *later])
            write_changes(connection, begun, state)
            write_metrics(connection, metrics)
        return state

    def append(
        self,
        run: str,
        facts: Sequence[Fact],
        at: datetime,
        *,
        metrics: Iterable[Metric] = (),
        watch: PollState | None = None,
        obeyed: int | None = None,
        fence: int | None = None,
    ) -> RunState:
        """Write facts, the rows they fold to, and observations, in one transaction.

        `obeyed` is the number of the request that they fulfil. Raises IllegalTransition (nothing is written), and
        LeaseLost if `fence` is no longer the newest.
        """
        with self._transaction() as connection:
            if fence is not None:
                _check_fence(connection, fence)
            before = self._checked(asking(connection), run)
            after = before.state
            for fact in facts:
                after = machine.apply(after, fact, at)
            append_facts(connection, run, [(at, fact) for fact in facts])
            write_changes(connection, before.state, after)
            if any(isinstance(fact, ENDINGS) for fact in facts):
                _outdate(connection, after.run)
            newest = next(asking(connection)(NEWEST_FACT_ROW, run=run))
            known = FoldCache(newest["id"], after, newest["digest"])
            write_metrics(connection, metrics)
            if watch is not None:
                upsert(connection, schema.watches, {"run": run, **to_row(watch)}, ["run"])
            if obeyed is not None:
                connection.execute(update(schema.requests).where(schema.requests.c.id == obeyed).values(obeyed_at=at))
        self._remembered.keep(run, known)  # only after the commit
        return after

    # --- observations --------------------------------------------------------

    def forget_looks(self, fence: int) -> None:
        """Clear the times of polls and retries, which are meaningless after a clock change.

        Failure counts are kept. Raises LeaseLost if `fence` is no longer the newest.
        """
        with self._transaction() as connection:
            _check_fence(connection, fence)
            connection.execute(update(schema.watches).values(dict.fromkeys(FORGOTTEN)))

    def write_quota(self, quota: QuotaRow) -> None:
        """Store the account's weekly quota."""
        with self._transaction() as connection:
            upsert(connection, schema.quotas, to_row(quota), ["owner", "accelerator"])

    # --- requests ------------------------------------------------------------

    def request(self, run: str, verb: str, arguments: dict[str, str], at: datetime) -> int:
        """Record a request, which the next tick carries out. Returns its number."""
        with self._transaction() as connection:
            values = {"run": run, "verb": verb, "arguments": arguments, "made_at": at}
            made = connection.execute(insert(schema.requests).values(values))
            assert made.inserted_primary_key is not None
            return int(made.inserted_primary_key[0])

    # --- the lease -----------------------------------------------------------

    def take_lease(
        self, holder: str, now: datetime, lasts_s: float, alive: Callable[[str], bool | None] = lambda holder: None
    ) -> Lease:
        """Take the daemon's lease, by the rules of `leases.taken`. Raises LeaseHeld while another's lease is valid."""
        with self._transaction() as connection:
            lease = taken(lease_of(asking(connection)), holder, now, lasts_s, alive)
            upsert(connection, schema.leases, {"name": "daemon", **to_row(lease)}, ["name"])
        return lease

    def keep_lease(self, lease: Lease, now: datetime, lasts_s: float) -> Lease:
        """Renew the lease. Raises LeaseLost if another daemon took it."""
        kept = lease.until(now, lasts_s)
        with self._transaction() as connection:
            _check_fence(connection, lease.fence)
            connection.execute(update(schema.leases).values(expires_at=kept.expires_at))
        return kept

    def release_lease(self, lease: Lease, now: datetime) -> None:
        """Release the lease, so that the next daemon need not wait until it expires."""
        with self._transaction() as connection:
            mine = schema.leases.c.fence == lease.fence
            connection.execute(update(schema.leases).where(mine).values(expires_at=now))


def _outdate(connection: Connection, run: Run) -> None:
    """Mark the account's quota reading as outdated, because a session has ended since."""
    mine = (schema.quotas.c.owner == run.owner) & (schema.quotas.c.accelerator == run.accelerator)
    connection.execute(update(schema.quotas).where(mine).values(outdated=True))


def _check_fence(connection: Connection, fence: int) -> None:
    check_fence(fence, connection.execute(select(schema.leases.c.fence)).scalar())
