"""Writes of rows and facts within a transaction, which the store opens and closes."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from state.digests import BEGINNING, link
from state.facts.base import Fact
from state.model.metrics import Metric
from state.model.run_state import RunState
from state.rows import to_columns, to_row
from state.sql import Query, scalar

NEWEST_DIGEST = "SELECT digest FROM fact WHERE run = :run ORDER BY id DESC LIMIT 1"
TABLES_OF_RUN = ("fact", "fold_mark", "forecast", "poll_state", "request", "metric", "checkpoint", "session")
"""Tables with a column `run`, in an order in which no foreign key is left without its row."""


def append_facts(query: Query, run: str, facts: Sequence[tuple[datetime, Fact]]) -> None:
    """Append facts to the log, each with a digest chained to the fact before it."""
    if not facts:
        return
    digest = scalar(query(NEWEST_DIGEST, run=run), "digest") or BEGINNING
    for at, fact in facts:
        row = to_columns({"run": run, "at": at, "name": fact.name, "data": fact.to_dict()})
        digest = link(digest, run, at, fact.name, row["data"])
        insert(query, "fact", {**row, "digest": digest})


def remove_run(query: Query, run: str) -> None:
    """Remove every row of a run."""
    for table in TABLES_OF_RUN:
        query(f"DELETE FROM {table} WHERE run = :run", run=run)
    query("DELETE FROM run WHERE id = :run", run=run)


def write_changes(query: Query, before: RunState, after: RunState) -> None:
    """Write only the rows that differ between two states."""
    if after.run != before.run:
        upsert(query, "run", to_row(after.run), ["id"])
    sessions = {session.key: session for session in before.sessions}
    for session in after.sessions:
        if sessions.get(session.key) != session:
            upsert(query, "session", to_row(session), ["run", "number", "attempt"])
    checkpoints = {checkpoint.name: checkpoint for checkpoint in before.checkpoints}
    for checkpoint in after.checkpoints:
        if checkpoints.get(checkpoint.name) != checkpoint:
            upsert(query, "checkpoint", to_row(checkpoint), ["run", "name"])


def write_metrics(query: Query, metrics: Iterable[Metric]) -> None:
    """Insert metrics; skip those already stored, since a replayed event has the same values."""
    for metric in metrics:
        insert(query, "metric", to_row(metric), "ON CONFLICT DO NOTHING")


def insert(query: Query, table: str, row: dict[str, Any], rest: str = "") -> None:
    """Insert a row. `rest` is appended to the statement."""
    columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    query(f"INSERT INTO {table} ({columns}) VALUES ({values}) {rest}", **row)


def upsert(query: Query, table: str, row: dict[str, Any], keys: Sequence[str]) -> None:
    """Insert a row, or update the row with the same keys."""
    changes = ", ".join(f"{name} = excluded.{name}" for name in row if name not in keys)
    insert(query, table, row, f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}")
