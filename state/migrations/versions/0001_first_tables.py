"""Create the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _facts()
    _leases()
    _quotas()
    _runs()
    _notification_marks()
    _metrics()
    _requests()
    _sessions()
    _poll_states()
    _checkpoints()


def _facts() -> None:
    op.create_table(
        "fact",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("digest", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("fact_by_run", "fact", ["run", "id"], unique=False)


def _leases() -> None:
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _quotas() -> None:
    op.create_table(
        "quota",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("accelerator", sa.Text(), nullable=False),
        sa.Column("used_s", sa.Float(), nullable=False),
        sa.Column("reserved_s", sa.Float(), nullable=False),
        sa.Column("total_s", sa.Float(), nullable=True),
        sa.Column("refreshes_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("assumed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("outdated", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("owner", "accelerator"),
    )


def _runs() -> None:
    op.create_table(
        "run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("accelerator", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("pipeline_path", sa.Text(), nullable=False),
        sa.Column("pipeline_digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("waiting_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("excerpt", sa.Text(), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("accepted_sessions", sa.Integer(), nullable=False),
        sa.Column("awaits", sa.Text(), server_default="", nullable=False),
        sa.Column("home", sa.Text(), server_default="", nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("overtaken_by", sa.Integer(), server_default="0", nullable=False),
        sa.Column("inputs_dataset", sa.Text(), server_default="", nullable=False),
        sa.Column("inputs_offered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("foreign_push_possible", sa.Integer(), server_default="0", nullable=False),
        sa.Column("origin", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("run_by_status", "run", ["status", "created_at", "id"], unique=False)


def _notification_marks() -> None:
    op.create_table(
        "notification_mark",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("mark", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("service", "subject"),
    )


def _metrics() -> None:
    op.create_table(
        "metric",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("run", "session", "attempt", "number", "name"),
    )
    op.create_index(
        "metric_by_name",
        "metric",
        ["run", "stage", "name", "session", "attempt", "number", "step", "value"],
        unique=False,
    )


def _requests() -> None:
    op.create_table(
        "request",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fulfilled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("request_by_answer", "request", ["fulfilled_at", "run"], unique=False)
    op.create_index("request_open", "request", ["run", "fulfilled_at"], unique=False)


def _sessions() -> None:
    op.create_table(
        "session",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("start", sa.JSON(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("budget_s", sa.Float(), nullable=False),
        sa.Column("limit_s", sa.Float(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kernel_version", sa.Integer(), nullable=True),
        sa.Column("pushed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("running_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("worker_message", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("transient", sa.Integer(), nullable=False),
        sa.Column("reached", sa.JSON(), nullable=True),
        sa.Column("furthest", sa.JSON(), nullable=True),
        sa.Column("steps_lost", sa.Integer(), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=True),
        sa.Column("excerpt", sa.Text(), nullable=False),
        sa.Column("seconds", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("kept_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("timings", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("unclear", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unclear_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("declined", sa.Integer(), server_default="0", nullable=False),
        sa.Column("twin", sa.Integer(), nullable=True),
        sa.Column("twin_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("twin_ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["run"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("run", "number", "attempt"),
        sa.UniqueConstraint("slug", name="session_slug"),
    )
    op.create_index("session_by_end", "session", ["ended_at"], unique=False)
    op.create_index("session_by_phase", "session", ["phase"], unique=False)


def _poll_states() -> None:
    op.create_table(
        "poll_state",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("polled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dataset_polled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("absences", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("log_lines", sa.Integer(), nullable=False),
        sa.Column("slot_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("slot_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seconds", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("sent_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("search_s", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("awaiting", sa.Text(), server_default="", nullable=False),
        sa.Column("waited_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("waited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recent_commands", sa.Text(), server_default="", nullable=False),
        sa.Column("recent_commands_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("calls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("calls_since", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["run"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("run"),
    )


def _checkpoints() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("session", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("cursor", sa.JSON(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dataset", sa.Text(), server_default="", nullable=False),
        sa.Column("offered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["run", "session", "attempt"],
            ["session.run", "session.number", "session.attempt"],
        ),
        sa.PrimaryKeyConstraint("run", "name"),
    )
