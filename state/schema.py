"""Database tables. `fact` is append-only; the others hold the fold of the facts, or observations."""

import functools
from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects import sqlite


class Utc(TypeDecorator[datetime]):
    """Aware time, stored in UTC. SQLite stores no time zone; `state.sql.moment` restores it on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "a naive time reached the database"
        return value.astimezone(UTC)


metadata = MetaData()

facts = Table(
    "fact",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run", Text, nullable=False),
    Column("at", Utc, nullable=False),
    Column("name", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Column("digest", Text, nullable=False, server_default=""),
    Index("fact_by_run", "run", "id"),
)

runs = Table(
    "run",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("accelerator", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("pipeline_path", Text, nullable=False),
    Column("pipeline_digest", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("updated_at", Utc, nullable=False),
    Column("waiting_until", Utc),
    Column("reason", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("excerpt", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("judged", Integer, nullable=False),
    Column("awaits", Text, nullable=False, server_default=""),
    Column("home", Text, nullable=False, server_default=""),
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("overtaken_by", Integer, nullable=False, server_default="0"),
    Column("inputs_dataset", Text, nullable=False, server_default=""),
    Column("inputs_offered_at", Utc),
    Column("unsure", Integer, nullable=False, server_default="0"),
    Index("run_by_status", "status", "created_at", "id"),
)

sessions = Table(
    "session",
    metadata,
    Column("run", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("slug", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("start", JSON, nullable=False),
    Column("parent", Text),
    Column("budget_s", Float, nullable=False),
    Column("limit_s", Float, nullable=False),
    Column("planned_at", Utc, nullable=False),
    Column("kernel_version", Integer),
    Column("pushed_at", Utc),
    Column("running_at", Utc),
    Column("ended_at", Utc),
    Column("worker", Text, nullable=False),
    Column("worker_message", Text, nullable=False),
    Column("outcome", Text),
    Column("cause", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("transient", Integer, nullable=False),
    Column("reached", JSON),
    Column("furthest", JSON),
    Column("steps_lost", Integer, nullable=False),
    Column("checkpoint", Text),
    Column("excerpt", Text, nullable=False),
    Column("seconds", JSON, nullable=False, server_default="{}"),
    Column("kept_s", Float, nullable=False, server_default="0"),
    Column("timings", JSON, nullable=False, server_default="{}"),
    Column("unclear", Integer, nullable=False, server_default="0"),
    Column("unclear_at", Utc),
    Column("declined", Integer, nullable=False, server_default="0"),
    Column("twin", Integer),
    Column("twin_at", Utc),
    Column("twin_ended_at", Utc),
    ForeignKeyConstraint(["run"], ["run.id"]),
    UniqueConstraint("slug", name="session_slug"),
    Index("session_by_phase", "phase"),
    Index("session_by_end", "ended_at"),
)

checkpoints = Table(
    "checkpoint",
    metadata,
    Column("run", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("session", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("parent", Text),
    Column("cursor", JSON, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("verified_at", Utc, nullable=False),
    Column("published_at", Utc),
    Column("dataset", Text, nullable=False, server_default=""),
    Column("offered_at", Utc),
    ForeignKeyConstraint(["run", "session", "attempt"], ["session.run", "session.number", "session.attempt"]),
)

metrics = Table(
    "metric",
    metadata,
    Column("run", Text, primary_key=True),
    Column("session", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("value", Float, nullable=False),
    Column("at_s", Float, nullable=False),
    ForeignKeyConstraint(["run"], ["run.id"]),
    Index("metric_by_name", "run", "stage", "name", "session", "attempt", "number", "step", "value"),
)

requests = Table(
    "request",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("made_at", Utc, nullable=False),
    Column("obeyed_at", Utc),
    Column("answer", Text),
    ForeignKeyConstraint(["run"], ["run.id"]),
    Index("request_open", "run", "obeyed_at"),
    Index("request_by_answer", "obeyed_at", "run"),
)

watches = Table(
    "watch",
    metadata,
    Column("run", Text, primary_key=True),
    Column("looked_at", Utc),
    Column("dataset_looked_at", Utc),
    Column("failures", Integer, nullable=False),
    Column("failing_since", Utc),
    Column("failed_at", Utc),
    Column("failing_s", Float, nullable=False, server_default="0"),
    Column("failure", Text, nullable=False),
    Column("absences", Integer, nullable=False, server_default="0"),
    Column("not_before", Utc),
    Column("log_lines", Integer, nullable=False),
    Column("slot_since", Utc),
    Column("slot_seen_at", Utc),
    Column("done_at", Utc),
    Column("seconds", JSON, nullable=False, server_default="{}"),
    Column("sent_s", Float, nullable=False, server_default="0"),
    Column("sought_s", JSON, nullable=False, server_default="{}"),
    Column("awaiting", Text, nullable=False, server_default=""),
    Column("waited_s", Float, nullable=False, server_default="0"),
    Column("waited_at", Utc),
    Column("lately", Text, nullable=False, server_default=""),
    Column("lately_at", Utc),
    Column("calls", Integer, nullable=False, server_default="0"),
    Column("calls_since", Utc),
    ForeignKeyConstraint(["run"], ["run.id"]),
)

quotas = Table(
    "quota",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("accelerator", Text, primary_key=True),
    Column("used_s", Float, nullable=False),
    Column("reserved_s", Float, nullable=False),
    Column("total_s", Float),
    Column("refreshes_at", Utc),
    Column("read_at", Utc, nullable=False),
    Column("assumed", Integer, nullable=False, server_default="0"),
    Column("outdated", Integer, nullable=False, server_default="0"),
)

leases = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("expires_at", Utc, nullable=False),
)

told = Table(
    "told",
    metadata,
    Column("service", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("mark", Integer, nullable=False),
    Column("at", Utc, nullable=False),
)


Layout = dict[str, frozenset[tuple[str, ...]]]


@functools.cache
def layout() -> Layout:
    """Return the columns and foreign keys of each table, in the form in which SQLite's pragmas report them."""
    dialect, found = sqlite.dialect(), Layout()
    for table in metadata.tables.values():
        columns = {
            ("column", column.name, column.type.compile(dialect), str(int(not column.nullable)))
            for column in table.columns
        }
        keys = {("key", key.parent.name, key.column.table.name, key.column.name) for key in table.foreign_keys}
        found[table.name] = frozenset(columns | keys)
    return found
