"""What outlives a clock that was set: which reading of the hours is out of date, how long a wait lasts, how busy an account is."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("quota") as table:
        table.add_column(sa.Column("outdated", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("run") as table:
        table.add_column(sa.Column("awaits", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("watch") as table:
        table.add_column(sa.Column("awaiting", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("waited_s", sa.Float(), nullable=False, server_default="0"))
        table.add_column(sa.Column("waited_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("lately", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("lately_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("calls", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("calls_since", sa.DateTime(timezone=True), nullable=True))
