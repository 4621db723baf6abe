"""Add marks of verified runs, with which readers need not fold a log again. They are written with a run's next facts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fold_mark",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("fact", sa.Integer(), nullable=False),
        sa.Column("log_digest", sa.Text(), nullable=False),
        sa.Column("rows_digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("run"),
    )
