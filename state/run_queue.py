"""Which runs may need something, found by indexes: what is over costs nothing, however much of it there is."""

from state.model import RunStatus
from state.queries import LIVE_PHASES
from state.sql import Query, scalar

ChangeToken = tuple[int, int]
"""(number of the newest fact, number of the newest request that is not obeyed) of a run; 0 for none."""

OPEN = f"""
    run.id IN (
        SELECT id FROM run WHERE status IN ('{RunStatus.ACTIVE.value}', '{RunStatus.WAITING.value}', '{RunStatus.PARKED.value}')
        UNION SELECT run FROM session WHERE phase IN ({LIVE_PHASES})
        UNION SELECT run FROM request WHERE obeyed_at IS NULL
    )
"""
"""A cancelled run with a live session needs looking after until that ends."""
OPEN_IDS = f"SELECT id FROM run WHERE {OPEN} ORDER BY created_at, id"
MARKS = f"""
    SELECT run.id, (SELECT max(fact.id) FROM fact WHERE fact.run = run.id) AS fact,
    (SELECT max(request.id) FROM request WHERE request.run = run.id AND request.obeyed_at IS NULL) AS request
    FROM run WHERE {OPEN} ORDER BY run.created_at, run.id
"""
NEEDIEST = f"""
    SELECT id, created_at FROM run ORDER BY CASE status WHEN '{RunStatus.PARKED.value}' THEN 0
    WHEN '{RunStatus.ACTIVE.value}' THEN 1 WHEN '{RunStatus.WAITING.value}' THEN 1 ELSE 2 END,
    created_at DESC, id DESC LIMIT :most
"""
COUNT = "SELECT count(*) AS runs FROM run"


def open_ids(query: Query) -> list[str]:
    """Ids of the runs that may still need something, or of which something is asked, oldest first."""
    return [str(row["id"]) for row in query(OPEN_IDS)]


def marks(query: Query) -> dict[str, ChangeToken]:
    """The same runs, each with its mark."""
    return {row["id"]: (row["fact"] or 0, row["request"] or 0) for row in query(MARKS)}


def by_priority(query: Query, most: int) -> tuple[list[str], int]:
    """So many runs, oldest first: those that need a person, then what goes on, then what is over, the newest of each; and how
    many others there are.
    """
    found = sorted((row["created_at"], str(row["id"])) for row in query(NEEDIEST, most=most))
    return [run for _, run in found], int(scalar(query(COUNT), "runs")) - len(found)
