"""What happens inside one transaction: rows and facts, read and written. The store opens it and closes it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select

from state import schema
from state.facts import FACTS, Fact
from state.model import (
    Checkpoint,
    Metric,
    Phase,
    Request,
    Run,
    RunState,
    RunStatus,
    Session,
    Waiting,
    Watch,
)
from state.rows import from_row, to_row

LIVE_PHASES = [phase.value for phase in Phase if phase.on_kaggle]
FACTS_AT_ONCE = 500


def append_facts(connection: Connection, run: str, facts: Sequence[tuple[datetime, Fact]]) -> None:
    """The log's next entries."""
    if facts:
        rows = [{"run": run, "at": at, "name": fact.name, "data": fact.to_dict()} for at, fact in facts]
        connection.execute(insert(schema.facts), rows)


def newest_fact(connection: Connection, run: str) -> int | None:
    """The number of the log's last entry."""
    found = connection.execute(select(func.max(schema.facts.c.id)).where(schema.facts.c.run == run)).scalar()
    return None if found is None else int(found)


def facts_of(connection: Connection, run: str) -> Iterator[tuple[datetime, Fact]]:
    """A run's log, oldest first, a part of it at a time."""
    query = select(schema.facts).where(schema.facts.c.run == run).order_by(schema.facts.c.id)
    for row in connection.execute(query).yield_per(FACTS_AT_ONCE):
        yield row.at, FACTS[row.name].from_dict(row.data)


def rows_of(connection: Connection, run: str) -> RunState:
    """The run as its rows have it; KeyError for an unknown run."""
    row = connection.execute(select(schema.runs).where(schema.runs.c.id == run)).mappings().first()
    if row is None:
        raise KeyError(run)
    sessions = connection.execute(
        select(schema.sessions)
        .where(schema.sessions.c.run == run)
        .order_by(schema.sessions.c.number, schema.sessions.c.attempt)
    )
    checkpoints = connection.execute(
        select(schema.checkpoints)
        .where(schema.checkpoints.c.run == run)
        .order_by(schema.checkpoints.c.session, schema.checkpoints.c.attempt)
    )
    return RunState(
        from_row(Run, row),
        tuple(from_row(Session, item) for item in sessions.mappings()),
        tuple(from_row(Checkpoint, item) for item in checkpoints.mappings()),
    )


def write_changes(connection: Connection, before: RunState, after: RunState) -> None:
    """Write the rows that a fold changed, and no others."""
    if after.run != before.run:
        upsert(connection, schema.runs, to_row(after.run), ["id"])
    sessions = {session.key: session for session in before.sessions}
    for session in after.sessions:
        if sessions.get(session.key) != session:
            upsert(connection, schema.sessions, to_row(session), ["run", "number", "attempt"])
    checkpoints = {checkpoint.name: checkpoint for checkpoint in before.checkpoints}
    for checkpoint in after.checkpoints:
        if checkpoints.get(checkpoint.name) != checkpoint:
            upsert(connection, schema.checkpoints, to_row(checkpoint), ["run", "name"])


def write_metrics(connection: Connection, metrics: Iterable[Metric]) -> None:
    """A replayed event is already there, and a session never changes what it said."""
    rows = [to_row(metric) for metric in metrics]
    if rows:
        connection.execute(_insert(connection, schema.metrics).on_conflict_do_nothing(), rows)


def watch_of(connection: Connection, run: str) -> Watch:
    """What is remembered of looking at Kaggle for a run."""
    row = connection.execute(select(schema.watches).where(schema.watches.c.run == run)).mappings().first()
    return Watch() if row is None else from_row(Watch, row)


def upsert(connection: Connection, table: Table, row: dict[str, Any], keys: Sequence[str]) -> None:
    """Write a row in the place of the one with the same keys, if there is one."""
    write = _insert(connection, table).values(row)
    rest = {name: write.excluded[name] for name in row if name not in keys}
    connection.execute(write.on_conflict_do_update(index_elements=list(keys), set_=rest))


def _insert(connection: Connection, table: Table) -> Any:
    """`INSERT` that can be told what to do where the row is there already.

    Imported here: whoever only looks need not wait for both dialects.
    """
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def open_requests(connection: Connection, run: str) -> tuple[Request, ...]:
    """What was asked of a run and is not answered yet, oldest first."""
    table = schema.requests
    rows = connection.execute(select(table).where(table.c.run == run, table.c.obeyed_at.is_(None)).order_by(table.c.id))
    return tuple(from_row(Request, row) for row in rows.mappings())


def others_live(connection: Connection, run: Run) -> int:
    """How many sessions of other runs take a slot of the same account and accelerator."""
    sessions, runs = schema.sessions, schema.runs
    mine = select(func.count()).select_from(sessions.join(runs, sessions.c.run == runs.c.id))
    others = mine.where(
        sessions.c.run != run.id,
        runs.c.owner == run.owner,
        runs.c.accelerator == run.accelerator,
        sessions.c.phase.in_(LIVE_PHASES),
    )
    return int(connection.execute(others).scalar() or 0)


def others_waiting(connection: Connection, run: Run) -> tuple[Waiting, ...]:
    """Other runs that want a slot of the same account and accelerator, and have none."""
    watches, runs, sessions = schema.watches, schema.runs, schema.sessions
    live = select(sessions.c.run).where(sessions.c.phase.in_(LIVE_PHASES))
    query = (
        select(watches.c.run, watches.c.slot_since.label("since"), watches.c.slot_seen_at.label("seen_at"))
        .join(runs, watches.c.run == runs.c.id)
        .where(
            runs.c.id != run.id,
            runs.c.owner == run.owner,
            runs.c.accelerator == run.accelerator,
            runs.c.status == RunStatus.ACTIVE.value,
            watches.c.slot_since.is_not(None),
            runs.c.id.not_in(live),
        )
    )
    return tuple(from_row(Waiting, row) for row in connection.execute(query).mappings())
