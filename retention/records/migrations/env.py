"""Alembic's entry: runs the steps on the engine that `migrate` passes in, all in one transaction.

Several processes may start at once: on PostgreSQL they take turns by a lock, and those that come later find nothing to
do (on SQLite the transaction itself is the lock). Steps may take longer than a request may.
"""

from alembic import context
from sqlalchemy import text

from audit.log.tables import metadata as audit_metadata
from retention.records.rights import give_rights
from retention.records.tables import metadata

_FIRST = {
    "postgresql": (
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL lock_timeout = 0",
        "SELECT pg_advisory_xact_lock(4153697013)",
    ),
    "sqlite": (),
}
engine = context.config.attributes["engine"]

with engine.begin() as connection:
    for statement in _FIRST[engine.dialect.name]:
        connection.execute(text(statement))
    context.configure(
        connection=connection,
        target_metadata=[metadata, audit_metadata],
        transactional_ddl=True,
    )
    context.run_migrations()
    if context.config.attributes.get("newest"):
        give_rights(connection)
