"""Queries for the runs that may need work. They use indexes, so runs that are over cost nothing."""

from typing import Any

from state.model.statuses import RunStatus
from state.queries import LIVE_PHASES
from state.sql import Query, scalar

ChangeToken = tuple[int, int]
"""(number of a run's newest fact, number of its newest open request); 0 for none."""

OPEN = f"""
    run.id IN (
        SELECT id FROM run WHERE status IN ('{RunStatus.ACTIVE.value}', '{RunStatus.WAITING.value}', '{RunStatus.PARKED.value}')
        UNION SELECT run FROM session WHERE phase IN ({LIVE_PHASES})
        UNION SELECT run FROM request WHERE fulfilled_at IS NULL
    )
"""
"""SQL condition for open runs. It includes a cancelled run until its live session ends."""
OPEN_IDS = f"SELECT id FROM run WHERE {OPEN} ORDER BY created_at, id"
CHANGE_TOKENS = f"""
    SELECT run.id, (SELECT max(fact.id) FROM fact WHERE fact.run = run.id) AS fact,
    (SELECT max(request.id) FROM request WHERE request.run = run.id AND request.fulfilled_at IS NULL) AS request
    FROM run WHERE {OPEN} ORDER BY run.created_at, run.id
"""
MOST_URGENT = f"""
    SELECT id, created_at FROM run ORDER BY CASE status WHEN '{RunStatus.PARKED.value}' THEN 0
    WHEN '{RunStatus.ACTIVE.value}' THEN 1 WHEN '{RunStatus.WAITING.value}' THEN 1 ELSE 2 END,
    created_at DESC, id DESC LIMIT :most
"""
CHANGES = (
    "SELECT max(id) FROM fact",
    "SELECT max(rowid) FROM metric",
    "SELECT max(id), count(fulfilled_at) FROM request",
    "SELECT count(*), max(polled_at), max(dataset_polled_at), max(failed_at), sum(failures), max(not_before), "
    "max(calls) FROM poll_state",
    "SELECT count(*), max(read_at), sum(outdated) FROM quota",
    "SELECT holder, fence FROM lease",
    "SELECT count(*) FROM run",
    "SELECT max(computed_at) FROM forecast",
)
"""Queries of a row or so each, answered in less than a millisecond."""
COUNT = "SELECT count(*) AS runs FROM run"


def open_ids(query: Query) -> list[str]:
    """Return the ids of runs that may need work or have open requests, oldest first."""
    return [str(row["id"]) for row in query(OPEN_IDS)]


def change_tokens(query: Query) -> dict[str, ChangeToken]:
    """Return the open runs, each with its change token."""
    return {row["id"]: (row["fact"] or 0, row["request"] or 0) for row in query(CHANGE_TOKENS)}


def change_mark(query: Query) -> tuple[Any, ...]:
    """Return values that differ after any change that a status shows: facts, steps, polls, requests, quota, the daemon."""
    return tuple(value for sql in CHANGES for row in query(sql) for value in row)


def by_priority(query: Query, most: int) -> tuple[list[str], int]:
    """Return the ids of the `most` most urgent runs, oldest first, and the number of others.

    Parked runs are the most urgent, then active and waiting ones, then runs that are over; within each the newest.
    """
    found = sorted((row["created_at"], str(row["id"])) for row in query(MOST_URGENT, most=most))
    return [run for _, run in found], int(scalar(query(COUNT), "runs")) - len(found)
