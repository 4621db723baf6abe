"""Queries on the rows and the log of a run, within one transaction."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from state.damaged_rows import readable, reporting_damage
from state.digests import BEGINNING, link
from state.facts.base import Fact
from state.failures import RunDamaged
from state.model.poll_state import PollState
from state.model.run_origin import RunOrigin
from state.model.run_state import KEPT_MIN, Checkpoint, Run, RunState, Session
from state.model.snapshot import CallsMade, MachineTime, QuotaRow, Request, Waiting
from state.model.statuses import CheckpointStatus, Phase, RunStatus
from state.rows import from_row
from state.sql import Query, Row, document, moment, scalar, stamp

LIVE_PHASES = ", ".join(f"'{phase.value}'" for phase in Phase if phase.on_kaggle)
"""Phases in which a session takes a slot, as an SQL list."""

TWIN_LIVES = f"""(session.twin IS NOT NULL AND session.twin_ended_at IS NULL
    AND run.status NOT IN ('{RunStatus.FINISHED.value}', '{RunStatus.CANCELLED.value}'))"""
"""SQL condition for a duplicate session that takes a slot. relay does not track those of runs that are over."""

FACTS_OF = "SELECT * FROM fact WHERE run = :run ORDER BY id"
RUN_OF = "SELECT * FROM run WHERE id = :run"
SESSIONS_OF = "SELECT * FROM session WHERE run = :run ORDER BY number, attempt"
CHECKPOINTS_OF = "SELECT * FROM checkpoint WHERE run = :run ORDER BY session, attempt"
WATCH_OF = "SELECT * FROM poll_state WHERE run = :run"
OPEN_REQUESTS = "SELECT * FROM request WHERE run = :run AND fulfilled_at IS NULL ORDER BY id"
QUOTA_OF = "SELECT * FROM quota WHERE owner = :owner AND accelerator = :accelerator"
OTHERS_LIVE = f"""
    SELECT coalesce(sum((session.phase IN ({LIVE_PHASES})) + ({TWIN_LIVES})), 0) AS live
    FROM session JOIN run ON session.run = run.id WHERE (session.phase IN ({LIVE_PHASES}) OR {TWIN_LIVES})
    AND run.id != :run AND run.owner = :owner AND run.accelerator = :accelerator
"""
OTHERS_WAITING = f"""
    SELECT poll_state.run, poll_state.slot_since AS since, poll_state.slot_seen_at AS seen_at FROM poll_state JOIN run ON poll_state.run = run.id
    WHERE run.status = '{RunStatus.ACTIVE.value}' AND poll_state.slot_since IS NOT NULL
    AND run.id != :run AND run.owner = :owner AND run.accelerator = :accelerator
    AND run.id NOT IN (SELECT run FROM session WHERE phase IN ({LIVE_PHASES}))
"""
OTHERS_CALLS = """
    SELECT poll_state.calls_since AS since, poll_state.calls FROM poll_state JOIN run ON poll_state.run = run.id
    WHERE poll_state.calls_since IS NOT NULL AND run.id != :run AND run.owner = :owner
"""
BEGUN_FROM_OTHERS = f"""
    SELECT run.id, run.origin, (SELECT count(*) FROM checkpoint WHERE checkpoint.run = run.id
    AND checkpoint.status IN ('{CheckpointStatus.COLLECTED.value}', '{CheckpointStatus.PUBLISHED.value}')) AS usable
    FROM run WHERE run.status IN ('{RunStatus.ACTIVE.value}', '{RunStatus.WAITING.value}', '{RunStatus.PARKED.value}')
    AND run.origin IS NOT NULL
"""
AT_OWNER = " AND ".join(
    f"coalesce(json_extract(run.left_platforms, '$[' || session.platform || '].{name}'), run.{name}) = :{name}"
    for name in ("owner", "accelerator")
)
"""SQL condition for a session of an account and accelerator, also if its run has gone on elsewhere since."""
MACHINE_TIMES = f"""
    SELECT coalesce(session.running_at, session.pushed_at) AS began_at, session.ended_at, session.limit_s
    FROM session JOIN run ON session.run = run.id
    WHERE {AT_OWNER} AND session.pushed_at IS NOT NULL
    AND (session.ended_at IS NULL OR session.ended_at > :since)
    UNION ALL SELECT session.twin_at, session.twin_ended_at, session.limit_s
    FROM session JOIN run ON session.run = run.id
    WHERE {AT_OWNER} AND session.twin IS NOT NULL
    AND (session.twin_ended_at IS NULL OR session.twin_ended_at > :since)
"""


def facts_of(query: Query, run: str) -> Iterator[tuple[datetime, Fact]]:
    """Yield a run's log, oldest first. Raises RunDamaged at the first fact that does not match its digest."""
    yield from linked(run, BEGINNING, query(FACTS_OF, run=run))


def linked(run: str, before: str, rows: Iterable[Row]) -> Iterator[tuple[datetime, Fact]]:
    """Yield the facts in these rows, verified against their digests. `before` is the digest of the preceding fact."""
    for row in rows:
        with reporting_damage(run, f"fact {row['id']}"):
            at = moment(row["at"])
            before = link(before, run, at, row["name"], row["data"])
            changed = before != row["digest"]
            found = None if changed else (at, fact_in(row))
        if found is None:
            raise RunDamaged(run, f"fact {row['id']} or the one before it is not what was written: its digest differs")
        yield found


def fact_in(row: Row) -> Fact:
    """Parse a row of the log. The classes of facts are imported on use: lists of runs need none of them."""
    from state.facts.registry import FACTS

    return FACTS[row["name"]].from_dict(document(row["data"]))


@dataclass(frozen=True)
class StoredRows:
    """Rows of a run as SQLite returns them."""

    run: Row
    sessions: Sequence[Row]
    checkpoints: Sequence[Row]

    def parsed(self, run: str) -> RunState:
        """Return the run's state. Raises RunDamaged if a row cannot be parsed."""
        with reporting_damage(run, "a row of it"):
            return RunState(
                from_row(Run, self.run),
                tuple(from_row(Session, row) for row in self.sessions),
                tuple(from_row(Checkpoint, row) for row in self.checkpoints),
            )


def stored_rows(query: Query, run: str) -> StoredRows:
    """Return the rows of a run. Raises KeyError for an unknown run."""
    row = next(query(RUN_OF, run=run), None)
    if row is None:
        raise KeyError(run)
    return StoredRows(row, [*query(SESSIONS_OF, run=run)], [*query(CHECKPOINTS_OF, run=run)])


def rows_of(query: Query, run: str) -> RunState:
    """Return the run's state from its rows. Raises KeyError for an unknown run, RunDamaged if they cannot be parsed."""
    return stored_rows(query, run).parsed(run)


def watch_of(query: Query, run: str) -> PollState:
    """Return a run's poll state."""
    return next(readable(PollState, query(WATCH_OF, run=run)), PollState())


def open_requests(query: Query, run: str) -> tuple[Request, ...]:
    """Return a run's open requests, oldest first. Raises RunDamaged if one cannot be parsed."""
    with reporting_damage(run, "a request"):
        return tuple(from_row(Request, row) for row in query(OPEN_REQUESTS, run=run))


def quota_of(query: Query, owner: str, accelerator: str) -> QuotaRow | None:
    """Return an account's quota as last read; None if unknown."""
    return next(readable(QuotaRow, query(QUOTA_OF, owner=owner, accelerator=accelerator)), None)


def others_live(query: Query, run: Run) -> int:
    """Return the number of slots of the same account and accelerator that other runs take."""
    return int(scalar(query(OTHERS_LIVE, run=run.id, owner=run.owner, accelerator=run.accelerator), "live"))


def others_waiting(query: Query, run: Run) -> tuple[Waiting, ...]:
    """Return the other runs that wait for a slot of the same account and accelerator."""
    rows = query(OTHERS_WAITING, run=run.id, owner=run.owner, accelerator=run.accelerator)
    return tuple(readable(Waiting, rows))


def others_calls(query: Query, run: Run) -> tuple[CallsMade, ...]:
    """Return the recent calls to Kaggle by other runs of the same account."""
    return tuple(from_row(CallsMade, row) for row in query(OTHERS_CALLS, run=run.id, owner=run.owner))


def origin_of(query: Query, state: RunState) -> RunState | None:
    """Return the run that this run begins from, by its rows; None if it is unknown or no longer needed."""
    origin = state.run.origin
    if origin is None or state.head is not None or next(query(RUN_OF, run=origin.run), None) is None:
        return None
    return rows_of(query, origin.run)


def needed_by_others(query: Query, run: str) -> tuple[RunOrigin, ...]:
    """Return the checkpoints of a run that other open runs begin from, or would have to begin from again."""
    found = [(RunOrigin.from_dict(document(row["origin"])), row["usable"]) for row in query(BEGUN_FROM_OTHERS)]
    return tuple(origin for origin, usable in found if origin.run == run and usable < KEPT_MIN)


def machine_times(query: Query, owner: str, accelerator: str, since: datetime) -> list[MachineTime]:
    """Return the machine time after `since` of the account's sessions on an accelerator."""
    rows = query(MACHINE_TIMES, owner=owner, accelerator=accelerator, since=stamp(since))
    return [*readable(MachineTime, rows)]
