"""Names from the database for shell completion. Standard library only, since every TAB press waits for it.

Reads only, waits at most WAIT_S seconds for a lock, and returns nothing on any database error.
"""

from pathlib import Path
from typing import Any

WAIT_S = 0.2


def runs(database: Path) -> list[tuple[str, str]]:
    """Return (run, status) of every run, newest first."""
    return _selected(database, ("id", "status"), "SELECT id, status FROM run ORDER BY created_at DESC")


def sessions(database: Path, run: str) -> list[tuple[int, str]]:
    """Return (number, slug) of every session attempt of a run, newest first. `run` is an id or a pipeline's name."""
    return _selected(
        database,
        ("number", "slug"),
        "SELECT number, slug FROM session WHERE run IN (SELECT id FROM run WHERE id = :run OR name = :run) "
        "ORDER BY number DESC, attempt DESC",
        run=run,
    )


def checkpoints(database: Path, run: str) -> list[tuple[str, str, int, bool]]:
    """Return (name, stage, step, usable as a session's start) of every checkpoint of a run, newest first."""
    return _selected(
        database,
        ("name", "stage", "step", "usable"),
        "SELECT name, json_extract(cursor, '$.stage') AS stage, json_extract(cursor, '$.step') AS step, "
        "status IN ('collected', 'published') AS usable "
        "FROM checkpoint WHERE run IN (SELECT id FROM run WHERE id = :run OR name = :run) "
        "ORDER BY session DESC, attempt DESC",
        run=run,
    )


def _selected(database: Path, columns: tuple[str, ...], sql: str, **values: str) -> list[Any]:
    import sqlite3  # imported here, as below: every command imports this module

    from state.database import Database
    from state.failures import StoreCorrupt, StoreUnavailable

    try:
        with Database.read_only(database, WAIT_S).transaction() as query:
            return [tuple(row[name] for name in columns) for row in query(sql, **values)]
    except (sqlite3.Error, StoreCorrupt, StoreUnavailable):
        return []
