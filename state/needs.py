"""Which runs may need something, found by indexes: what is over costs nothing, however much of it there is."""

import functools

from sqlalchemy import ColumnElement, Connection, Select, case, func, select, union

from state import schema
from state.model import RunStatus
from state.tables import LIVE_PHASES

OPEN_STATUSES = [RunStatus.ACTIVE.value, RunStatus.WAITING.value, RunStatus.PARKED.value]

Mark = tuple[int, int]
"""(number of the newest fact, number of the newest request that is not obeyed) of a run; 0 for none."""


def open_ids(connection: Connection) -> list[str]:
    """Ids of the runs that may still need something, or of which something is asked, oldest first."""
    runs = schema.runs
    query = select(runs.c.id).where(_open()).order_by(runs.c.created_at, runs.c.id)
    return [str(row.id) for row in connection.execute(query)]


def marks(connection: Connection) -> dict[str, Mark]:
    """The same runs, each with its mark."""
    return {row.id: (row.fact or 0, row.request or 0) for row in connection.execute(_marks())}


@functools.cache
def _marks() -> Select[tuple[str, int | None, int | None]]:
    """Asked every other second: put together once."""
    runs, facts, requests = schema.runs, schema.facts, schema.requests
    fact = select(func.max(facts.c.id)).where(facts.c.run == runs.c.id).scalar_subquery()
    unobeyed = (requests.c.run == runs.c.id, requests.c.obeyed_at.is_(None))
    request = select(func.max(requests.c.id)).where(*unobeyed).scalar_subquery()
    query = select(runs.c.id, fact.label("fact"), request.label("request")).where(_open())
    return query.order_by(runs.c.created_at, runs.c.id)


def neediest(connection: Connection, most: int) -> tuple[list[str], int]:
    """So many runs, oldest first: those that need a person, then what goes on, then what is over, the newest of each; and how
    many others there are.
    """
    runs = schema.runs
    need = case(
        {RunStatus.PARKED.value: 0, RunStatus.ACTIVE.value: 1, RunStatus.WAITING.value: 1}, value=runs.c.status, else_=2
    )
    query = select(runs.c.id, runs.c.created_at).order_by(need, runs.c.created_at.desc(), runs.c.id.desc()).limit(most)
    found = sorted((row.created_at, str(row.id)) for row in connection.execute(query))
    count = connection.execute(select(func.count()).select_from(runs)).scalar() or 0
    return [run for _, run in found], int(count) - len(found)


def _open() -> ColumnElement[bool]:
    return schema.runs.c.id.in_(union(_by_status(), _going_on(), _asked()))


def _by_status() -> Select[tuple[str]]:
    return select(schema.runs.c.id).where(schema.runs.c.status.in_(OPEN_STATUSES))


def _going_on() -> Select[tuple[str]]:
    """Runs with a live session: a cancelled one needs looking after until it ends."""
    return select(schema.sessions.c.run).where(schema.sessions.c.phase.in_(LIVE_PHASES))


def _asked() -> Select[tuple[str]]:
    return select(schema.requests.c.run).where(schema.requests.c.obeyed_at.is_(None))
