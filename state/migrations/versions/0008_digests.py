"""A digest beside each fact, linked to the one before it, so that a bit that was turned over is noticed."""

import sqlalchemy as sa
from alembic import op

from state.digests import BEGINNING, link
from state.query import moment

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("fact") as table:
        table.add_column(sa.Column("digest", sa.Text(), nullable=False, server_default=""))
    connection = op.get_bind()
    newest: dict[str, str] = {}
    for row in connection.execute(sa.text("SELECT id, run, at, name, data FROM fact ORDER BY id")).mappings().all():
        try:
            digest = link(newest.get(row["run"], BEGINNING), row["run"], moment(row["at"]), row["name"], row["data"])
        except (TypeError, ValueError):  # damaged already: without a digest it does not fit, and its run is set apart
            continue
        newest[row["run"]] = digest
        connection.execute(
            sa.text("UPDATE fact SET digest = :digest WHERE id = :id"), {"digest": digest, "id": row["id"]}
        )
