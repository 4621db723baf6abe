"""Alembic's entry point: run the migrations on the engine that relay passes in, in one transaction."""

from alembic import context

with context.config.attributes["engine"].connect() as connection:
    # The engine begins transactions itself, and SQLite rolls back schema changes within a transaction.
    context.configure(connection=connection, render_as_batch=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
