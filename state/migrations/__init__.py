"""Alembic migrations from earlier schema revisions: one numbered file per revision, forward only."""
