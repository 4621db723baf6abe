"""Names from the database for shell completion. Standard library only, since every TAB press waits for it.

Reads only, waits at most WAIT_S seconds for a lock, and returns nothing on any database error.
"""

import os
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

WAIT_S = 0.2


def runs(database: Path) -> list[tuple[str, str]]:
    """Return (run, status) of every run, newest first."""
    return _selected(database, "SELECT id, status FROM run ORDER BY created_at DESC")


def sessions(database: Path, run: str) -> list[tuple[int, str]]:
    """Return (number, slug) of every session attempt of a run, newest first. `run` is an id or a pipeline's name."""
    return _selected(
        database,
        "SELECT number, slug FROM session WHERE run IN (SELECT id FROM run WHERE id = :run OR name = :run) "
        "ORDER BY number DESC, attempt DESC",
        run,
    )


def checkpoints(database: Path, run: str) -> list[tuple[str, str, int, bool]]:
    """Return (name, stage, step, usable as a session's start) of every checkpoint of a run, newest first."""
    return _selected(
        database,
        "SELECT name, json_extract(cursor, '$.stage'), json_extract(cursor, '$.step'), status IN ('collected', 'published') "
        "FROM checkpoint WHERE run IN (SELECT id FROM run WHERE id = :run OR name = :run) "
        "ORDER BY session DESC, attempt DESC",
        run,
    )


def _selected(database: Path, question: str, run: str = "") -> list[tuple]:  # type: ignore[type-arg]
    import sqlite3  # imported here: every command imports this module

    try:
        with closing(
            sqlite3.connect(f"file:{quote(os.fsencode(database.absolute()))}?mode=ro", timeout=WAIT_S, uri=True)
        ) as held:
            return held.execute(question, {"run": run}).fetchall()
    except sqlite3.Error:
        return []
