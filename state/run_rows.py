"""Rows of all runs for a list: of each run its newest session and checkpoint, and totals; no run's log is read."""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from state.damaged_rows import reporting_damage
from state.failures import StoreCorrupt
from state.model.metrics import Metric
from state.model.poll_state import PollState
from state.model.run_state import Checkpoint, Run, RunState, Session
from state.model.snapshot import Request
from state.model.statuses import CheckpointStatus, Outcome, RunStatus
from state.queries import open_requests, watch_of
from state.rows import from_row
from state.sql import Query, Row, moment, scalar, stamp

RUNS = """
    SELECT run.*, (SELECT max(fact.id) FROM fact WHERE fact.run = run.id) AS newest_fact
    FROM run {where} ORDER BY created_at, id
"""
THESE = "WHERE id IN (SELECT value FROM json_each(:runs))"
OVER = (RunStatus.FINISHED, RunStatus.CANCELLED)
NEWEST_SESSION = "SELECT * FROM session WHERE run = :run ORDER BY number DESC, attempt DESC LIMIT 1"
HEAD = f"""
    SELECT * FROM checkpoint WHERE run = :run AND name = (
        SELECT name FROM checkpoint WHERE run = :run
        AND status IN ('{CheckpointStatus.COLLECTED.value}', '{CheckpointStatus.PUBLISHED.value}')
        ORDER BY session DESC, attempt DESC LIMIT 1
    )
"""
# As `relay status` counts: at least what the session's own clock reported, at most its limit.
EARLIER_TIME = """
    SELECT coalesce(sum(min(limit_s, max(
        (SELECT coalesce(sum(value), 0.0) FROM json_each(session.seconds)),
        86400.0 * (julianday(coalesce(ended_at, :now)) - julianday(coalesce(running_at, pushed_at)))
    ))), 0.0) AS seconds
    FROM session WHERE run = :run AND NOT (number = :number AND attempt = :attempt)
    AND coalesce(running_at, pushed_at) IS NOT NULL AND (ended_at IS NOT NULL OR running_at IS NOT NULL)
"""
STEPS_OF_SESSION = """
    SELECT run, session, attempt, max(number) AS number, 'done' AS name, stage, max(step) AS step, 0.0 AS value,
    max(at_s) AS at_s FROM metric WHERE run = :run AND session = :session AND attempt = :attempt GROUP BY stage
"""
JULIAN_DIGITS = 2
"""Decimal digits of seconds that differences of Julian days give: a double near 2.46 million days is exact to 40 µs."""
CHANGES = """
    SELECT (SELECT max(id) FROM fact) AS fact, (SELECT max(id) FROM request) AS request,
    (SELECT count(*) FROM request WHERE fulfilled_at IS NULL) AS open,
    (SELECT max(polled_at) FROM poll_state) AS polled_at, (SELECT total(log_lines + failures) FROM poll_state) AS seen,
    (SELECT max(read_at) FROM quota) AS quota, (SELECT fence FROM lease) AS fence,
    (SELECT max(computed_at) FROM forecast) AS forecast
"""
SESSION_COUNTS = f"""
    SELECT run, count(*) AS sessions,
    coalesce(sum(outcome IN ('{Outcome.FAILED.value}', '{Outcome.LOST.value}')), 0) AS failed FROM session GROUP BY run
"""
DAMAGE = "SELECT run, count(*) AS damage FROM fact WHERE name = :name GROUP BY run"
REQUESTS_MADE = "SELECT * FROM request WHERE run = :run ORDER BY id DESC LIMIT :most"


@dataclass(frozen=True)
class ListedRun:
    """Run as a list shows it: few rows, which cost the same however long the run's log is."""

    state: RunState
    """The run with only its newest session and its newest usable checkpoint."""
    earlier_s: float
    """Seconds of machine time of all sessions but the newest."""
    steps: tuple[Metric, ...]
    """Furthest step of each stage that the newest session reported, while it is live."""
    watch: PollState
    requests: tuple[Request, ...]
    newest_fact: int


@dataclass(frozen=True)
class RunTotals:
    """Numbers of a run's sessions, with attempts, and of the files of its checkpoints that were found damaged."""

    sessions: int = 0
    failed: int = 0
    """Sessions that failed or were lost."""
    damage: int = 0


@dataclass(frozen=True)
class AnsweredRequest:
    """Request of the user, answered or not."""

    request: Request
    fulfilled_at: datetime | None


def listed_runs(
    query: Query,
    now: datetime,
    runs: Collection[str] | None = None,
    verify: Callable[[Query, str], None] | None = None,
) -> Iterator[ListedRun | tuple[str, StoreCorrupt]]:
    """Yield these runs (None: all), oldest first; of an unreadable one its id and the error.

    `verify` is called for each open run and raises StoreCorrupt if it is damaged.
    """
    rows = query(RUNS.format(where="")) if runs is None else query(RUNS.format(where=THESE), runs=json.dumps([*runs]))
    for row in rows:
        try:
            if verify is not None and row["status"] not in OVER:
                verify(query, str(row["id"]))
            yield _listed(query, row, now)
        except StoreCorrupt as error:
            yield str(row["id"]), error


def _listed(query: Query, row: Row, now: datetime) -> ListedRun:
    run = str(row["id"])
    with reporting_damage(run, "a row of it"):
        sessions = tuple(from_row(Session, found) for found in query(NEWEST_SESSION, run=run))
        heads = tuple(from_row(Checkpoint, found) for found in query(HEAD, run=run))
        state = RunState(from_row(Run, row), sessions, heads)
        steps: tuple[Metric, ...] = ()
        earlier_s = 0.0
        if (last := state.last) is not None:
            key = {"number": last.number, "attempt": last.attempt}
            seconds = float(scalar(query(EARLIER_TIME, run=run, now=stamp(now), **key), "seconds"))
            earlier_s = round(seconds, JULIAN_DIGITS)
            if not last.phase.over:
                rows = query(STEPS_OF_SESSION, run=run, session=last.number, attempt=last.attempt)
                steps = tuple(from_row(Metric, found) for found in rows)
    requests = open_requests(query, run)
    return ListedRun(state, earlier_s, steps, watch_of(query, run), requests, int(row["newest_fact"] or 0))


def run_totals(query: Query) -> dict[str, RunTotals]:
    """Return the totals of every run that has sessions or damage."""
    from state.facts.checkpoint import DamageFound  # on use, as in `queries.fact_in`

    damage = {str(row["run"]): int(row["damage"]) for row in query(DAMAGE, name=DamageFound.name)}
    counts = {str(row["run"]): (int(row["sessions"]), int(row["failed"])) for row in query(SESSION_COUNTS)}
    return {run: RunTotals(*counts.get(run, (0, 0)), damage.get(run, 0)) for run in {**counts, **damage}}


def change_mark(query: Query) -> tuple[object, ...]:
    """Return a value that changes whenever anything is written that a list of runs shows."""
    row = next(query(CHANGES))
    return tuple(row[name] for name in ("fact", "request", "open", "polled_at", "seen", "quota", "fence", "forecast"))


def requests_made(query: Query, run: str, most: int) -> list[AnsweredRequest]:
    """Return the last `most` requests about a run, newest first. Raises RunDamaged if one cannot be parsed."""
    with reporting_damage(run, "a request"):
        return [
            AnsweredRequest(from_row(Request, row), moment(row["fulfilled_at"]) if row["fulfilled_at"] else None)
            for row in query(REQUESTS_MADE, run=run, most=most)
        ]
