"""Queries on reported metrics, answered from an index, so that they stay fast with a million values.

The index `metric_by_name` holds a run's values by stage and name in the order in which they were reported, with step
and value. The newest value of each metric is one index lookup, and a curve is one pass over the index alone.
"""

from collections.abc import Iterator

from state.model.metrics import CurvePoint, Metric, StepEdges, StepSeen
from state.rows import from_row
from state.sql import Query, scalar

# One column at a time: SQLite seeks the next value of one column in an index, but scans for the next pair.
NEXT_STAGE = "SELECT min(stage) AS next FROM metric WHERE run = :run AND stage > :after"
NEXT_NAME = "SELECT min(name) AS next FROM metric WHERE run = :run AND stage = :stage AND name > :after"

MINE = "metric.run = :run AND metric.stage = :stage AND metric.name = :name"
NEWEST = f"SELECT * FROM metric WHERE {MINE} ORDER BY session DESC, attempt DESC, number DESC LIMIT :most"
FIRST = f"""
    SELECT metric.* FROM metric JOIN (
        SELECT session, attempt, min(number) AS number FROM metric WHERE {MINE} GROUP BY session, attempt
    ) AS begun USING (session, attempt, number) WHERE {MINE}
"""
EDGES = """
    SELECT session, attempt, min(at_s) AS first_at_s, max(at_s) AS last_at_s FROM metric WHERE run = :run
    GROUP BY session, attempt ORDER BY session, attempt
"""
LAST_STEPS = "SELECT stage, max(step) AS step FROM metric WHERE run = :run GROUP BY stage"
# One curve at a time: grouping by one number is twice as fast as grouping by stage, name and number.
POINTS = f"""
    SELECT max(step) AS step, avg(value) AS value, min(value) AS low, max(value) AS high FROM metric WHERE {MINE}
    GROUP BY metric.step / :width ORDER BY 1
"""
# Of every metric: a stage may report none in most of its steps.
TIMES = """
    SELECT session, attempt, stage, max(step) AS step, max(at_s) AS at_s FROM metric WHERE run = :run AND stage = :stage
    GROUP BY session, attempt, metric.step / :width ORDER BY 1, 2, 4
"""


def names(query: Query, run: str) -> Iterator[tuple[str, str]]:
    """Yield (stage, name) of each metric, sorted: one index seek each, regardless of the number of values."""
    stage = ""
    while (stage := scalar(query(NEXT_STAGE, run=run, after=stage), "next")) is not None:
        name = ""
        while (name := scalar(query(NEXT_NAME, run=run, stage=stage, after=name), "next")) is not None:
            yield stage, name


def newest_values(query: Query, run: str) -> list[Metric]:
    """Return the newest value of each metric of each stage."""
    found = []
    for stage, name in names(query, run):
        found += [from_row(Metric, row) for row in query(NEWEST, run=run, stage=stage, name=name, most=1)]
    return found


def steps_seen(query: Query, run: str, newest: int) -> list[StepSeen]:
    """Return completed steps in order: the `newest` ones of each stage, and each stage's first one in each session."""
    first_names: dict[str, str] = {}
    for stage, name in names(query, run):
        first_names.setdefault(stage, name)
    found = {}
    for stage, name in first_names.items():
        mine = {"run": run, "stage": stage, "name": name}
        for rows in (query(NEWEST, **mine, most=newest), query(FIRST, **mine)):
            for row in rows:
                found[row["session"], row["attempt"], row["number"]] = from_row(StepSeen, row)
    return [found[key] for key in sorted(found)]


def step_edges(query: Query, run: str) -> list[StepEdges]:
    """Return the times of the first and last reported step of each session that reported one, ordered by session."""
    return [from_row(StepEdges, row) for row in query(EDGES, run=run)]


def step_times(query: Query, run: str, points_max: int) -> list[StepSeen]:
    """Return when steps were completed, by stage and session: at most `points_max` in a stage that no session repeated.

    They include the last step of each point that `points` returns for the same `points_max`.
    """
    return [
        from_row(StepSeen, row)
        for stage, width in _widths(query, run, points_max).items()
        for row in query(TIMES, run=run, stage=stage, width=width)
    ]


def points(query: Query, run: str, points_max: int) -> list[CurvePoint]:
    """Return each metric of each stage over its steps, averaged so that no curve has more than `points_max` points."""
    widths = _widths(query, run, points_max)
    return [
        CurvePoint(stage=stage, name=name, step=row["step"], value=row["value"], low=row["low"], high=row["high"])
        for stage, name in names(query, run)
        for row in query(POINTS, run=run, stage=stage, name=name, width=widths[stage])
    ]


def _widths(query: Query, run: str, points_max: int) -> dict[str, int]:
    """Return the number of steps that become one point, by stage."""
    return {row["stage"]: row["step"] // points_max + 1 for row in query(LAST_STEPS, run=run)}
