"""What happens inside one transaction: rows and facts, read and written. The store opens it and closes it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Insert, Row, Table, and_, func, insert, select, update

from state import machine, schema
from state.facts import FACTS, Fact
from state.failures import StoreCorrupt
from state.model import (
    Checkpoint,
    Metric,
    Phase,
    Request,
    Run,
    RunState,
    RunStatus,
    Session,
    StepSeen,
    Waiting,
    Watch,
)
from state.rows import from_row, to_row

LIVE_PHASES = [phase.value for phase in Phase if phase.on_kaggle]


def append_fact(connection: Connection, run: str, fact: Fact, at: datetime) -> None:
    """The log's next entry."""
    connection.execute(insert(schema.facts).values(run=run, at=at, name=fact.name, data=fact.to_dict()))


def facts_of(connection: Connection, run: str) -> list[tuple[datetime, Fact]]:
    """A run's log, oldest first."""
    rows = connection.execute(select(schema.facts).where(schema.facts.c.run == run).order_by(schema.facts.c.id))
    return [(row.at, FACTS[row.name].from_dict(row.data)) for row in rows]


def checked(connection: Connection, run: str) -> RunState:
    """The rows, held against the facts."""
    return checked_with_facts(connection, run)[0]


def checked_with_facts(connection: Connection, run: str) -> tuple[RunState, list[tuple[datetime, Fact]]]:
    """The same, and the facts themselves."""
    state = rows_of(connection, run)
    facts = facts_of(connection, run)
    if machine.fold(facts) != state:
        raise StoreCorrupt(f"the facts of {run} do not fold to its rows: restore the database from a backup")
    return state, facts


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
        connection.execute(_insert_new(connection, schema.metrics), rows)


def _insert_new(connection: Connection, table: Table) -> Insert:
    """An insert that passes over rows that are there. Imported here: whoever only looks need not wait for both dialects."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table).on_conflict_do_nothing()


def watch_of(connection: Connection, run: str) -> Watch:
    """What is remembered of looking at Kaggle for a run."""
    row = connection.execute(select(schema.watches).where(schema.watches.c.run == run)).mappings().first()
    return Watch() if row is None else from_row(Watch, row)


def upsert(connection: Connection, table: Table, row: dict[str, Any], keys: Sequence[str]) -> None:
    """Write a row in the place of the one with the same keys, if there is one."""
    mine = and_(*(table.c[key] == row[key] for key in keys))
    rest = {name: value for name, value in row.items() if name not in keys}
    if connection.execute(select(func.count()).select_from(table).where(mine)).scalar():
        connection.execute(update(table).where(mine).values(rest))
    else:
        connection.execute(insert(table).values(row))


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


def steps_of(connection: Connection, run: str, newest: int) -> list[StepSeen]:
    """The `newest` steps of each stage of a run, and each stage's first in each session, in the order in which they were told."""
    table = schema.metrics
    mine = table.c.run == run
    # one metric of each stage is enough, and by this index it is found without reading the others
    indexed = select(table).with_hint(table, "INDEXED BY metric_by_stage", "sqlite")
    stages = select(table.c.stage, func.min(table.c.name).label("name")).where(mine).group_by(table.c.stage)
    found: list[Row[Any]] = []
    for told in connection.execute(stages).all():
        one = indexed.where(mine, table.c.stage == told.stage, table.c.name == told.name)
        rows = sorted(connection.execute(one).all(), key=_told)
        begun = {(row.session, row.attempt): row for row in reversed(rows)}
        found += {_told(row): row for row in (*begun.values(), *rows[max(0, len(rows) - newest) :])}.values()
    return [from_row(StepSeen, row._mapping) for row in sorted(found, key=_told)]


def _told(row: Row[Any]) -> tuple[int, int, int]:
    """When an event was told, among those of a run."""
    return (row.session, row.attempt, row.number)
