"""Add the platforms that a run has left, and on which of its platforms each session and checkpoint is: the first so far."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("left_platforms", sa.JSON(), nullable=False, server_default="[]"))
    for table in ("session", "checkpoint"):
        op.add_column(table, sa.Column("platform", sa.Integer(), nullable=False, server_default="0"))
