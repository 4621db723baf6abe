"""Database tables. `fact` is append-only; the others hold the fold of the facts, observations, or what is derived from both."""

import functools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from state.sql import Query, Row

TABLES = """
CREATE TABLE fact (
    id INTEGER NOT NULL,
    run TEXT NOT NULL,
    at DATETIME NOT NULL,
    name TEXT NOT NULL,
    data JSON NOT NULL,
    digest TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX fact_by_run ON fact (run, id);

CREATE TABLE run (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    accelerator TEXT NOT NULL,
    status TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    pipeline_path TEXT NOT NULL,
    pipeline_digest TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL,
    waiting_until DATETIME,
    reason TEXT NOT NULL,
    remedy TEXT NOT NULL,
    excerpt TEXT NOT NULL,
    inputs TEXT NOT NULL,
    accepted_sessions INTEGER NOT NULL,
    awaits TEXT DEFAULT '' NOT NULL,
    home TEXT DEFAULT '' NOT NULL,
    generation INTEGER DEFAULT '0' NOT NULL,
    overtaken_by INTEGER DEFAULT '0' NOT NULL,
    inputs_dataset TEXT DEFAULT '' NOT NULL,
    inputs_offered_at DATETIME,
    foreign_push_possible INTEGER DEFAULT '0' NOT NULL,
    origin JSON,
    left_platforms JSON DEFAULT '[]' NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX run_by_status ON run (status, created_at, id);

CREATE TABLE session (
    run TEXT NOT NULL,
    number INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    slug TEXT NOT NULL,
    token TEXT NOT NULL,
    phase TEXT NOT NULL,
    start JSON NOT NULL,
    parent TEXT,
    budget_s FLOAT NOT NULL,
    limit_s FLOAT NOT NULL,
    planned_at DATETIME NOT NULL,
    kernel_version INTEGER,
    pushed_at DATETIME,
    running_at DATETIME,
    ended_at DATETIME,
    worker TEXT NOT NULL,
    worker_message TEXT NOT NULL,
    outcome TEXT,
    cause TEXT NOT NULL,
    reason TEXT NOT NULL,
    transient INTEGER NOT NULL,
    reached JSON,
    furthest JSON,
    steps_lost INTEGER NOT NULL,
    checkpoint TEXT,
    excerpt TEXT NOT NULL,
    seconds JSON DEFAULT '{}' NOT NULL,
    kept_s FLOAT DEFAULT '0' NOT NULL,
    timings JSON DEFAULT '{}' NOT NULL,
    unclear INTEGER DEFAULT '0' NOT NULL,
    unclear_at DATETIME,
    declined INTEGER DEFAULT '0' NOT NULL,
    twin INTEGER,
    twin_at DATETIME,
    twin_ended_at DATETIME,
    platform INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (run, number, attempt),
    FOREIGN KEY(run) REFERENCES run (id),
    CONSTRAINT session_slug UNIQUE (slug)
);
CREATE INDEX session_by_end ON session (ended_at);
CREATE INDEX session_by_phase ON session (phase);

CREATE TABLE fold_mark (
    run TEXT NOT NULL,
    fact INTEGER NOT NULL,
    log_digest TEXT NOT NULL,
    rows_digest TEXT NOT NULL,
    PRIMARY KEY (run),
    FOREIGN KEY(run) REFERENCES run (id)
);

CREATE TABLE forecast (
    run TEXT NOT NULL,
    computed_at DATETIME NOT NULL,
    basis TEXT NOT NULL,
    steps TEXT NOT NULL,
    document JSON NOT NULL,
    PRIMARY KEY (run),
    FOREIGN KEY(run) REFERENCES run (id)
);

CREATE TABLE checkpoint (
    run TEXT NOT NULL,
    name TEXT NOT NULL,
    session INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    digest TEXT NOT NULL,
    parent TEXT,
    cursor JSON NOT NULL,
    size_bytes INTEGER NOT NULL,
    manifest TEXT NOT NULL,
    status TEXT NOT NULL,
    verified_at DATETIME NOT NULL,
    published_at DATETIME,
    dataset TEXT DEFAULT '' NOT NULL,
    offered_at DATETIME,
    platform INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (run, name),
    FOREIGN KEY(run, session, attempt) REFERENCES session (run, number, attempt)
);

CREATE TABLE metric (
    run TEXT NOT NULL,
    session INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    stage TEXT NOT NULL,
    step INTEGER NOT NULL,
    value FLOAT NOT NULL,
    at_s FLOAT NOT NULL,
    PRIMARY KEY (run, session, attempt, number, name),
    FOREIGN KEY(run) REFERENCES run (id)
);
CREATE INDEX metric_by_name ON metric (run, stage, name, session, attempt, number, step, value);

CREATE TABLE request (
    id INTEGER NOT NULL,
    run TEXT NOT NULL,
    verb TEXT NOT NULL,
    arguments JSON NOT NULL,
    made_at DATETIME NOT NULL,
    fulfilled_at DATETIME,
    answer TEXT,
    PRIMARY KEY (id),
    FOREIGN KEY(run) REFERENCES run (id)
);
CREATE INDEX request_by_answer ON request (fulfilled_at, run);
CREATE INDEX request_open ON request (run, fulfilled_at);

CREATE TABLE poll_state (
    run TEXT NOT NULL,
    polled_at DATETIME,
    dataset_polled_at DATETIME,
    failures INTEGER NOT NULL,
    failing_since DATETIME,
    failed_at DATETIME,
    failing_s FLOAT DEFAULT '0' NOT NULL,
    failure TEXT NOT NULL,
    absences INTEGER DEFAULT '0' NOT NULL,
    not_before DATETIME,
    log_lines INTEGER NOT NULL,
    slot_since DATETIME,
    slot_seen_at DATETIME,
    done_at DATETIME,
    seconds JSON DEFAULT '{}' NOT NULL,
    sent_s FLOAT DEFAULT '0' NOT NULL,
    search_s JSON DEFAULT '{}' NOT NULL,
    awaiting TEXT DEFAULT '' NOT NULL,
    waited_s FLOAT DEFAULT '0' NOT NULL,
    waited_at DATETIME,
    recent_commands TEXT DEFAULT '' NOT NULL,
    recent_commands_at DATETIME,
    calls INTEGER DEFAULT '0' NOT NULL,
    calls_since DATETIME,
    PRIMARY KEY (run),
    FOREIGN KEY(run) REFERENCES run (id)
);

CREATE TABLE quota (
    owner TEXT NOT NULL,
    accelerator TEXT NOT NULL,
    used_s FLOAT NOT NULL,
    reserved_s FLOAT NOT NULL,
    total_s FLOAT,
    refreshes_at DATETIME,
    read_at DATETIME NOT NULL,
    assumed INTEGER DEFAULT '0' NOT NULL,
    outdated INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (owner, accelerator)
);

CREATE TABLE lease (
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    fence INTEGER NOT NULL,
    expires_at DATETIME NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE notification_mark (
    service TEXT NOT NULL,
    subject TEXT NOT NULL,
    mark INTEGER NOT NULL,
    at DATETIME NOT NULL,
    PRIMARY KEY (service, subject)
);

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
"""
"""Statements that create the tables of the newest revision: those that the migrations make, and Alembic's own."""

TABLE_NAMES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'alembic_version' ORDER BY name"
COLUMNS = "SELECT * FROM pragma_table_info(:table)"
KEYS = "SELECT * FROM pragma_foreign_key_list(:table)"

Layout = frozenset[tuple[str, ...]]
"""Columns and foreign keys of one table."""


def create_tables(query: Query, revision: str) -> None:
    """Create the tables in an empty database, and record the schema's revision."""
    for statement in TABLES.split(";\n"):
        query(statement)
    query("INSERT INTO alembic_version (version_num) VALUES (:revision)", revision=revision)


def layout_of(query: Query, table: str) -> Layout:
    """Return the columns and foreign keys that a table of a database has."""
    columns = {
        ("column", str(row["name"]), str(row["type"]), str(row["notnull"])) for row in query(COLUMNS, table=table)
    }
    keys = {("key", str(row["from"]), str(row["table"]), str(row["to"])) for row in query(KEYS, table=table)}
    return frozenset(columns | keys)


@functools.cache
def expected_layouts() -> dict[str, Layout]:
    """Return the columns and foreign keys of each table that relay makes."""
    with closing(sqlite3.connect(":memory:")) as empty:
        empty.row_factory = sqlite3.Row
        empty.executescript(TABLES)

        def ask(sql: str, /, **values: Any) -> Iterator[Row]:
            rows: Iterator[Row] = empty.execute(sql, values)
            return rows

        return {str(row["name"]): layout_of(ask, str(row["name"])) for row in ask(TABLE_NAMES)}
