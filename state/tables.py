"""Writes of rows and facts within a transaction, which the store opens and closes."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select

from state import schema
from state.digests import BEGINNING, link
from state.facts.base import Fact
from state.model.metrics import Metric
from state.model.run_state import RunState
from state.rows import to_row


def append_facts(connection: Connection, run: str, facts: Sequence[tuple[datetime, Fact]]) -> None:
    """Append facts to the log, each with a digest chained to the fact before it."""
    if not facts:
        return
    column, mine = schema.facts.c.digest, schema.facts.c.run == run
    newest = connection.execute(select(column).where(mine).order_by(schema.facts.c.id.desc()).limit(1)).scalar()
    digest, rows = newest or BEGINNING, []
    for at, fact in facts:
        data = fact.to_dict()
        digest = link(digest, run, at, fact.name, data)
        rows.append({"run": run, "at": at, "name": fact.name, "data": data, "digest": digest})
    connection.execute(insert(schema.facts), rows)


def remove_run(connection: Connection, run: str) -> None:
    """Remove every row of a run."""
    for table in (schema.facts, schema.watches, schema.requests, schema.metrics, schema.checkpoints, schema.sessions):
        connection.execute(delete(table).where(table.c.run == run))
    connection.execute(delete(schema.runs).where(schema.runs.c.id == run))


def write_changes(connection: Connection, before: RunState, after: RunState) -> None:
    """Write only the rows that differ between two states."""
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
    """Insert metrics; skip those already stored, since a replayed event has the same values."""
    rows = [to_row(metric) for metric in metrics]
    if rows:
        connection.execute(_insert(connection, schema.metrics).on_conflict_do_nothing(), rows)


def upsert(connection: Connection, table: Table, row: dict[str, Any], keys: Sequence[str]) -> None:
    """Insert a row, or update the row with the same keys."""
    write = _insert(connection, table).values(row)
    rest = {name: write.excluded[name] for name in row if name not in keys}
    connection.execute(write.on_conflict_do_update(index_elements=list(keys), set_=rest))


def _insert(connection: Connection, table: Table) -> Any:
    """Return an `INSERT` of the dialect that supports `ON CONFLICT`."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # imported only when needed: it is slow

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
