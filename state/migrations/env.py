"""Alembic's entry point: runs migrations on the engine that relay hands over, in one transaction."""

from alembic import context

from state.schema import metadata

with context.config.attributes["engine"].connect() as connection:
    # The engine begins transactions itself, and in one SQLite takes a change of tables back like any other.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
