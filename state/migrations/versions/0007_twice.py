"""Pushes and datasets whose answers were lost, sessions that ran twice, and which home folder works on a run."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("run") as table:
        table.add_column(sa.Column("home", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("inputs_dataset", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("inputs_offered_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("session") as table:
        table.add_column(sa.Column("unclear", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("unclear_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("twin", sa.Integer(), nullable=True))
        table.add_column(sa.Column("twin_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("twin_ended_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("checkpoint") as table:
        table.add_column(sa.Column("dataset", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("offered_at", sa.DateTime(timezone=True), nullable=True))
