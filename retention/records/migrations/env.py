"""Alembic's entry: runs the steps on the engine that `migrate` passes in, all in one transaction."""

from alembic import context

from audit.tables import metadata as audit_metadata
from retention.records.tables import metadata

engine = context.config.attributes["engine"]

with engine.begin() as connection:
    context.configure(
        connection=connection,
        target_metadata=[metadata, audit_metadata],
        transactional_ddl=True,
    )
    context.run_migrations()
