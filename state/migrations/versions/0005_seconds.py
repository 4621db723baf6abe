"""Add time accounting: seconds by class of ended sessions and of the live one, and upload times."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("session") as table:
        table.add_column(sa.Column("seconds", sa.JSON(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("kept_s", sa.Float(), nullable=False, server_default="0"))
        table.add_column(sa.Column("timings", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("watch") as table:
        table.add_column(sa.Column("seconds", sa.JSON(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("sent_s", sa.Float(), nullable=False, server_default="0"))
