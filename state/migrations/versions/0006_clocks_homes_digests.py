"""Add what survives clock changes, lost answers, copied home folders and flipped bits."""

import sqlalchemy as sa
from alembic import op

from state.digests import BEGINNING, link
from state.sql import document, moment

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _clocks_and_waits()
    _pushes_and_homes()
    _digests()


def _clocks_and_waits() -> None:
    """Add marks for outdated quotas, the durations of waits, and call counts per account."""
    with op.batch_alter_table("quota") as table:
        table.add_column(sa.Column("outdated", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("run") as table:
        table.add_column(sa.Column("awaits", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("watch") as table:
        table.add_column(sa.Column("sought_s", sa.JSON(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("awaiting", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("waited_s", sa.Float(), nullable=False, server_default="0"))
        table.add_column(sa.Column("waited_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("lately", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("lately_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("calls", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("calls_since", sa.DateTime(timezone=True), nullable=True))


def _pushes_and_homes() -> None:
    """Add fields for unclear pushes and uploads, for duplicate sessions, and for a run's home folder."""
    with op.batch_alter_table("run") as table:
        table.add_column(sa.Column("home", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("overtaken_by", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("inputs_dataset", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("inputs_offered_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("unsure", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("session") as table:
        table.add_column(sa.Column("unclear", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("unclear_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("declined", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("twin", sa.Integer(), nullable=True))
        table.add_column(sa.Column("twin_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("twin_ended_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("checkpoint") as table:
        table.add_column(sa.Column("dataset", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("offered_at", sa.DateTime(timezone=True), nullable=True))
    connection = op.get_bind()
    declined = sa.text("UPDATE session SET declined = 1 WHERE run = :run AND number = :number AND attempt = :attempt")
    for row in connection.execute(sa.text("SELECT run, data FROM fact WHERE name = 'push_refused'")).mappings().all():
        try:
            fact = document(row["data"])
            connection.execute(declined, {"run": row["run"], "number": fact["number"], "attempt": fact["attempt"]})
        except (
            KeyError,
            TypeError,
            ValueError,
        ):  # damaged already: the fact gets no matching digest, so its run raises RunDamaged
            continue


def _digests() -> None:
    """Add a digest to each fact, chained to the fact before it."""
    with op.batch_alter_table("fact") as table:
        table.add_column(sa.Column("digest", sa.Text(), nullable=False, server_default=""))
    connection = op.get_bind()
    newest: dict[str, str] = {}
    for row in connection.execute(sa.text("SELECT id, run, at, name, data FROM fact ORDER BY id")).mappings().all():
        try:
            digest = link(newest.get(row["run"], BEGINNING), row["run"], moment(row["at"]), row["name"], row["data"])
        except (TypeError, ValueError):  # damaged already: without a digest its run raises RunDamaged
            continue
        newest[row["run"]] = digest
        connection.execute(
            sa.text("UPDATE fact SET digest = :digest WHERE id = :id"), {"digest": digest, "id": row["id"]}
        )
