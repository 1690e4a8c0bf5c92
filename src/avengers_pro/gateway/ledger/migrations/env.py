"""Run by alembic: apply the steps on the connection that ``schema.upgrade`` put into the configuration."""

from alembic import context

from avengers_pro.gateway.ledger.tables import metadata

# The caller's transaction holds the lock against a second upgrade; all steps go into it, or none does.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
