"""Add indexes for a thousand runs and a million metrics, and the forecast of a session's end."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("metric_by_stage", "metric")
    columns = ["run", "stage", "name", "session", "attempt", "number", "step", "value"]
    op.create_index("metric_by_name", "metric", columns, unique=False)
    op.drop_index("run_by_status", "run")
    op.create_index("run_by_status", "run", ["status", "created_at", "id"], unique=False)
    op.create_index("session_by_end", "session", ["ended_at"], unique=False)
    op.create_index("request_by_answer", "request", ["obeyed_at", "run"], unique=False)
    with op.batch_alter_table("watch") as table:
        table.add_column(sa.Column("done_at", sa.DateTime(timezone=True), nullable=True))
