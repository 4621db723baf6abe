"""Questions about the values that sessions reported, answered from an index: a million of them are no reason to wait.

The index `metric_by_name` holds a run's values by stage and name in the order in which they were told, with step and value, so
the newest of each is found at once, and a curve is drawn from one pass over the index alone.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, and_, cast, func, select

from state import schema
from state.model import Metric, Point, StepEdges, StepSeen
from state.rows import from_row

TABLE = schema.metrics
TOLD = (TABLE.c.session, TABLE.c.attempt, TABLE.c.number)
"""The order in which the values of one metric were told."""
NEWEST = tuple(column.desc() for column in TOLD)


def names(connection: Connection, run: str) -> Iterator[tuple[str, str]]:
    """(stage, name) of each metric, in that order: one step in the index each, however many values there are."""
    # One column at a time: SQLite seeks the least value above another in an index, and scans for the least pair.
    stage, mine = "", TABLE.c.run == run
    while (stage := _next(connection, TABLE.c.stage, stage, mine)) is not None:
        name = ""
        while (name := _next(connection, TABLE.c.name, name, and_(mine, TABLE.c.stage == stage))) is not None:
            yield stage, name


def _next(connection: Connection, column: ColumnElement[str], after: str, where: ColumnElement[bool]) -> Any:
    return connection.execute(select(func.min(column)).where(where, column > after)).scalar()


def newest_values(connection: Connection, run: str) -> list[Metric]:
    """The newest value of each metric of each stage."""
    found = []
    for stage, name in names(connection, run):
        query = select(TABLE).where(_of(run, stage, name)).order_by(*NEWEST).limit(1)
        found += [from_row(Metric, row) for row in connection.execute(query).mappings()]
    return found


def steps_seen(connection: Connection, run: str, newest: int) -> list[StepSeen]:
    """When steps were done, in their order: the `newest` ones of each stage, and each stage's first in each session."""
    first_names: dict[str, str] = {}
    for stage, name in names(connection, run):
        first_names.setdefault(stage, name)
    found = {}
    for stage, name in first_names.items():
        mine = _of(run, stage, name)
        begun = select(*TOLD[:2], func.min(TABLE.c.number).label("number")).where(mine).group_by(*TOLD[:2]).subquery()
        first = and_(*(column == begun.c[column.name] for column in TOLD))
        for query in (
            select(TABLE).where(mine).order_by(*NEWEST).limit(newest),
            select(TABLE).join(begun, first).where(mine),
        ):
            for row in connection.execute(query).mappings():
                found[row["session"], row["attempt"], row["number"]] = from_row(StepSeen, row)
    return [found[key] for key in sorted(found)]


def step_edges(connection: Connection, run: str) -> list[StepEdges]:
    """When each session that told of a step told of its first and its last one, in the order of sessions."""
    first, last = func.min(TABLE.c.at_s).label("first_at_s"), func.max(TABLE.c.at_s).label("last_at_s")
    query = select(*TOLD[:2], first, last).where(TABLE.c.run == run).group_by(*TOLD[:2]).order_by(*TOLD[:2])
    return [from_row(StepEdges, row) for row in connection.execute(query).mappings()]


def points(connection: Connection, run: str, points_max: int) -> list[Point]:
    """Each metric of each stage over its steps: means of so many neighbours that no curve has more than `points_max` points."""
    step, value = func.max(TABLE.c.step).label("step"), TABLE.c.value
    last = select(TABLE.c.stage, step).where(TABLE.c.run == run).group_by(TABLE.c.stage)
    widths = {row.stage: row.step // points_max + 1 for row in connection.execute(last)}
    found = []
    for stage, name in names(connection, run):  # one by one: SQLite groups by a number twice as fast as by all three
        query = (
            select(step, func.avg(value).label("value"), func.min(value).label("low"), func.max(value).label("high"))
            .where(_of(run, stage, name))
            .group_by(cast(TABLE.c.step / widths[stage], Integer))
            .order_by(step)
        )
        rows = connection.execute(query).mappings()
        found += [Point(stage=stage, name=name, **row) for row in rows]
    return found


def _of(run: str, stage: str, name: str) -> ColumnElement[bool]:
    return and_(TABLE.c.run == run, TABLE.c.stage == stage, TABLE.c.name == name)
