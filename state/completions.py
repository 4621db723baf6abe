"""Names out of a database, for a shell to complete: with the standard library alone, since a person waits for it at each TAB.

Only reads, waits for nobody, and has nothing to offer where anything is amiss.
"""

import os
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

WAIT_S = 0.2


def runs(database: Path) -> list[tuple[str, str]]:
    """(run, status) of every run, the newest first."""
    return _asked(database, "SELECT id, status FROM run ORDER BY created_at DESC")


def sessions(database: Path, run: str) -> list[tuple[int, str]]:
    """(number, slug) of every attempt at a session of a run, given as its id or its pipeline's name; the newest first."""
    return _asked(
        database,
        "SELECT number, slug FROM session WHERE run IN (SELECT id FROM run WHERE id = :run OR name = :run) "
        "ORDER BY number DESC, attempt DESC",
        run,
    )


def checkpoints(database: Path, run: str) -> list[tuple[str, str, int, bool]]:
    """(name, stage, step, whether a session may start from it) of every checkpoint of a run, the newest first."""
    return _asked(
        database,
        "SELECT name, json_extract(cursor, '$.stage'), json_extract(cursor, '$.step'), status IN ('collected', 'published') "
        "FROM checkpoint WHERE run IN (SELECT id FROM run WHERE id = :run OR name = :run) "
        "ORDER BY session DESC, attempt DESC",
        run,
    )


def _asked(database: Path, question: str, run: str = "") -> list[tuple]:  # type: ignore[type-arg]
    import sqlite3  # only now: every command imports this module

    try:
        with closing(
            sqlite3.connect(f"file:{quote(os.fsencode(database.absolute()))}?mode=ro", timeout=WAIT_S, uri=True)
        ) as held:
            return held.execute(question, {"run": run}).fetchall()
    except sqlite3.Error:
        return []
