"""The only module that opens a transaction: append facts, keep the rows they fold to, load what the core decides from."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, func, insert, or_, select, update

from state import curves, machine, needs, schema
from state.checking import Checked, Remembered, checked, checked_with_facts
from state.engine import SchemaError, is_current, migrate, open_engine, open_to_look
from state.facts import FACTS, Fact, RunStarted
from state.leases import Lease, check_fence, taken
from state.model import (
    Happened,
    Metric,
    Point,
    QuotaRow,
    Request,
    Run,
    RunState,
    Snapshot,
    StepEdges,
    StepSeen,
    Stretch,
    Watch,
)
from state.needs import Mark
from state.rows import from_row, to_row
from state.tables import (
    append_facts,
    facts_of,
    newest_fact,
    open_requests,
    others_live,
    others_waiting,
    rows_of,
    upsert,
    watch_of,
    write_changes,
    write_metrics,
)


class RunExists(Exception):
    """The database has a run of this id already."""


class Store:
    """Runs in one database. Safe to use from several processes; each call is one transaction.

    Every call may raise StoreUnavailable (it changed nothing and may be repeated) or StoreCorrupt.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._remembered = Remembered()

    @classmethod
    def at(cls, home: Path) -> "Store":
        """The store in a home folder, which is made where it does not exist."""
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = home / "relay.db"
        engine = open_engine(f"sqlite:///{path}")
        migrate(engine)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return cls(engine)

    @classmethod
    def to_look_at(cls, home: Path) -> "Store":
        """The store in a home folder, only to be read: locked or on a read-only disk it serves all the same.

        Raises SchemaError where its tables are an older or a newer relay's.
        """
        engine = open_to_look(home / "relay.db")
        if not is_current(engine):
            raise SchemaError("the database is of another version of relay")
        return cls(engine)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    # --- facts ---------------------------------------------------------------

    def begin_run(
        self,
        fact: RunStarted,
        at: datetime,
        *,
        later: Sequence[tuple[datetime, Fact]] = (),
        metrics: Iterable[Metric] = (),
    ) -> RunState:
        """Create a run by its first fact and whatever else is known of it already, in one transaction: all of it or nothing.

        Raises RunExists, and IllegalTransition where a later fact does not fit; then nothing is written.
        """
        with self._transaction() as connection:
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
        watch: Watch | None = None,
        obeyed: int | None = None,
        fence: int | None = None,
    ) -> RunState:
        """Write facts, the rows they fold to, and what was observed on the way, in one transaction.

        Raises IllegalTransition (nothing is written) and LeaseLost when `fence` is no longer the newest.
        """
        with self._transaction() as connection:
            if fence is not None:
                _check_fence(connection, fence)
            before = self._checked(connection, run)
            after = before.state
            for fact in facts:
                after = machine.apply(after, fact, at)
            append_facts(connection, run, [(at, fact) for fact in facts])
            write_changes(connection, before.state, after)
            newest = newest_fact(connection, run) or before.fact
            write_metrics(connection, metrics)
            if watch is not None:
                upsert(connection, schema.watches, {"run": run, **to_row(watch)}, ["run"])
            if obeyed is not None:
                connection.execute(update(schema.requests).where(schema.requests.c.id == obeyed).values(obeyed_at=at))
        self._remembered.keep(run, Checked(newest, after))  # it is committed
        return after

    def load(self, run: str) -> RunState:
        """The run's state; KeyError for an unknown run, StoreCorrupt where facts and rows disagree."""
        with self._transaction() as connection:
            found = self._checked(connection, run)
        self._remembered.keep(run, found)
        return found.state

    def _checked(self, connection: Connection, run: str) -> Checked:
        return checked(connection, run, self._remembered.of(run))

    def rows(self, run: str) -> RunState:
        """The run as its rows have it, not held against its log: for lists of many runs. KeyError for an unknown run."""
        with self._transaction() as connection:
            return rows_of(connection, run)

    def load_with_facts(self, run: str) -> tuple[RunState, list[tuple[datetime, Fact]]]:
        """The run's state and its log, oldest first, of the same moment; raises as `load` does."""
        with self._transaction() as connection:
            found, facts = checked_with_facts(connection, run)
        self._remembered.keep(run, found)
        return found.state, facts

    def snapshot(self, run: str) -> Snapshot:
        """What the core decides from: the run, its open requests, its quota, and the slots that other runs take."""
        with self._transaction() as connection:
            found = self._checked(connection, run)
            state = found.state
            quota = (
                connection.execute(
                    select(schema.quotas).where(
                        schema.quotas.c.owner == state.run.owner,
                        schema.quotas.c.accelerator == state.run.accelerator,
                    )
                )
                .mappings()
                .first()
            )
            snapshot = Snapshot(
                state=state,
                requests=open_requests(connection, run),
                watch=watch_of(connection, run),
                quota=None if quota is None else from_row(QuotaRow, quota),
                others_live=others_live(connection, state.run),
                waiting=others_waiting(connection, state.run),
            )
        self._remembered.keep(run, found)
        return snapshot

    def facts(self, run: str) -> list[tuple[datetime, Fact]]:
        """The run's log, oldest first."""
        with self._transaction() as connection:
            return list(facts_of(connection, run))

    def newest_facts(self, most: int, run: str | None = None) -> list[Happened]:
        """The end of the log of one run, or of all together, oldest first."""
        table = schema.facts
        query = select(table).order_by(table.c.id.desc()).limit(most)
        if run is not None:
            query = query.where(table.c.run == run)
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        found = (
            Happened(number=r.id, run=r.run, at=r.at, fact=FACTS[r.name].from_dict(r.data)) for r in reversed(rows)
        )
        return list(found)

    # --- runs ----------------------------------------------------------------

    def runs(self) -> list[Run]:
        """Every run, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(select(schema.runs).order_by(schema.runs.c.created_at, schema.runs.c.id))
            return [from_row(Run, row) for row in rows.mappings()]

    def neediest(self, most: int) -> tuple[list[str], int]:
        """Ids of so many runs, oldest first, and how many others there are.

        Those that need a person come before those that go on, these before those that are over, newer before older.
        """
        with self._transaction() as connection:
            return needs.neediest(connection, most)

    def open_runs(self) -> list[str]:
        """Ids of the runs that may still need something, or of which something is asked, oldest first.

        A cancelled one is among them while its session goes on.
        """
        with self._transaction() as connection:
            return needs.open_ids(connection)

    def news(self) -> dict[str, Mark]:
        """The same runs, each with a mark that is another one as soon as anybody writes a fact of it or asks something of it."""
        with self._transaction() as connection:
            return needs.marks(connection)

    # --- observations --------------------------------------------------------

    def observe(self, run: str, watch: Watch, metrics: Iterable[Metric] = ()) -> None:
        """Remember a look that changed nothing."""
        with self._transaction() as connection:
            write_metrics(connection, metrics)
            upsert(connection, schema.watches, {"run": run, **to_row(watch)}, ["run"])

    def watch(self, run: str) -> Watch:
        """What is remembered of looking at Kaggle for a run."""
        with self._transaction() as connection:
            return watch_of(connection, run)

    def forget_looks(self, fence: int) -> None:
        """Forget when anything was looked at or is to be tried again: those times are of a clock that has been set since.

        How often something failed is kept. Raises LeaseLost when `fence` is no longer the newest.
        """
        times = (
            "looked_at",
            "dataset_looked_at",
            "failing_since",
            "failed_at",
            "not_before",
            "slot_since",
            "slot_seen_at",
            "done_at",
        )
        with self._transaction() as connection:
            _check_fence(connection, fence)
            connection.execute(update(schema.watches).values(dict.fromkeys(times)))

    def write_quota(self, quota: QuotaRow) -> None:
        """Remember the account's weekly hours."""
        with self._transaction() as connection:
            upsert(connection, schema.quotas, to_row(quota), ["owner", "accelerator"])

    def stretches(self, owner: str, accelerator: str, since: datetime) -> list[Stretch]:
        """What the account's sessions that relay knows of took of an accelerator after `since`."""
        sessions, runs = schema.sessions, schema.runs
        began_at = func.coalesce(sessions.c.running_at, sessions.c.pushed_at).label("began_at")
        query = select(began_at, sessions.c.ended_at, sessions.c.limit_s).join(runs, sessions.c.run == runs.c.id)
        mine = query.where(runs.c.owner == owner, runs.c.accelerator == accelerator, sessions.c.pushed_at.is_not(None))
        late = mine.where(or_(sessions.c.ended_at.is_(None), sessions.c.ended_at > since))
        with self._transaction() as connection:
            return [from_row(Stretch, row) for row in connection.execute(late).mappings()]

    def quotas(self) -> list[QuotaRow]:
        """Every account's hours as last read."""
        with self._transaction() as connection:
            return [from_row(QuotaRow, row) for row in connection.execute(select(schema.quotas)).mappings()]

    def metrics(self, run: str, *, session: tuple[int, int] | None = None) -> list[Metric]:
        """The values that a run's sessions reported, in the order of sessions and events."""
        table = schema.metrics
        query = select(table).where(table.c.run == run)
        if session is not None:
            query = query.where(table.c.session == session[0], table.c.attempt == session[1])
        query = query.order_by(table.c.session, table.c.attempt, table.c.number, table.c.name)
        with self._transaction() as connection:
            return [from_row(Metric, row) for row in connection.execute(query).mappings()]

    def last_metrics(self, run: str) -> list[Metric]:
        """The newest value of each metric of each stage."""
        with self._transaction() as connection:
            return curves.newest_values(connection, run)

    def steps_seen(self, run: str, newest: int) -> list[StepSeen]:
        """When steps were done, in their order: the `newest` ones of each stage, and each stage's first in each session."""
        with self._transaction() as connection:
            return curves.steps_seen(connection, run, newest)

    def series(self, run: str, points_max: int) -> list[Point]:
        """Each metric of each stage over its steps, in that order: never more than `points_max` points a curve.

        Steps that a killed session lost were done again, with the same values: they count once more in a mean of equals.
        """
        with self._transaction() as connection:
            return curves.points(connection, run, points_max)

    def step_edges(self, run: str) -> list[StepEdges]:
        """When each session that told of a step told of its first and its last one, in the order of sessions."""
        with self._transaction() as connection:
            return curves.step_edges(connection, run)

    # --- requests ------------------------------------------------------------

    def request(self, run: str, verb: str, arguments: dict[str, str], at: datetime) -> int:
        """Ask the daemon for something; the next tick obeys. Returns the request's number."""
        with self._transaction() as connection:
            values = {"run": run, "verb": verb, "arguments": arguments, "made_at": at}
            made = connection.execute(insert(schema.requests).values(values))
            assert made.inserted_primary_key is not None
            return int(made.inserted_primary_key[0])

    def requests(self, run: str) -> tuple[Request, ...]:
        """What was asked of a run and is not obeyed yet, oldest first."""
        with self._transaction() as connection:
            return open_requests(connection, run)

    # --- the lease -----------------------------------------------------------

    def take_lease(
        self, holder: str, now: datetime, lasts_s: float, alive: Callable[[str], bool | None] = lambda holder: None
    ) -> Lease:
        """Become the database's daemon, by the rules of `leases.taken`; raises LeaseHeld while another one's lease lasts."""
        with self._transaction() as connection:
            lease = taken(_lease(connection), holder, now, lasts_s, alive)
            upsert(connection, schema.leases, {"name": "daemon", **to_row(lease)}, ["name"])
        return lease

    def keep_lease(self, lease: Lease, now: datetime, lasts_s: float) -> Lease:
        """Make the lease last longer; raises LeaseLost when somebody else took it."""
        kept = lease.until(now, lasts_s)
        with self._transaction() as connection:
            _check_fence(connection, lease.fence)
            connection.execute(update(schema.leases).values(expires_at=kept.expires_at))
        return kept

    def release_lease(self, lease: Lease, now: datetime) -> None:
        """Give the lease back, so that the next daemon need not wait for it to run out."""
        with self._transaction() as connection:
            mine = schema.leases.c.fence == lease.fence
            connection.execute(update(schema.leases).where(mine).values(expires_at=now))

    def lease(self) -> Lease | None:
        """The newest lease, run out or not."""
        with self._transaction() as connection:
            return _lease(connection)


def _lease(connection: Connection) -> Lease | None:
    row = connection.execute(select(schema.leases)).mappings().first()
    return None if row is None else from_row(Lease, row)


def _check_fence(connection: Connection, fence: int) -> None:
    check_fence(fence, connection.execute(select(schema.leases.c.fence)).scalar())
