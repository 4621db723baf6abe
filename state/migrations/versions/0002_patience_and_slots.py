"""Add the duration of failures, the start of the wait for a slot, and a mark for assumed quotas."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("watch") as table:
        table.add_column(sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("failing_s", sa.Float(), nullable=False, server_default="0"))
        table.add_column(sa.Column("absences", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("slot_since", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("slot_seen_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("quota") as table:
        table.add_column(sa.Column("assumed", sa.Integer(), nullable=False, server_default="0"))
