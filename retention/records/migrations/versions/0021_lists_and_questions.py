"""Lists of bundles and questions to the log are found by an index each, in the list's order"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_IN_PROGRESS = sa.text("state IN ('staging', 'receiving', 'received')")
_LISTED = sa.text("id > ''")
_UNCLAIMED = sa.text("case_id IS NULL")
_OF_A_TENANT = sa.text("tenant IS NOT NULL")
_NOT_SUCCESS = sa.text("outcome <> 'success'")
_INDEXES: tuple[tuple[str, str, list[str], sa.TextClause | None], ...] = (
    ("ix_bundles_case", "bundles", ["case_id", "time_collected", "id"], None),
    ("ix_bundles_tenant_state", "bundles", ["tenant_id", "state", "time_collected", "id"], _LISTED),
    ("ix_bundles_tenant_type", "bundles", ["tenant_id", "type", "time_collected", "id"], None),
    ("ix_bundles_state", "bundles", ["state", "time_collected", "id"], _LISTED),
    ("ix_bundles_type", "bundles", ["type", "time_collected", "id"], None),
    ("ix_bundles_tenant_unclaimed", "bundles", ["tenant_id", "time_collected", "id"], _UNCLAIMED),
    ("ix_audit_entries_tenant_actor", "audit_entries", ["tenant", "actor", "at_us"], _OF_A_TENANT),
    ("ix_audit_entries_tenant_action", "audit_entries", ["tenant", "action", "at_us"], _OF_A_TENANT),
    ("ix_audit_entries_actor_action", "audit_entries", ["actor", "action", "at_us"], None),
    ("ix_audit_entries_tenant_outcome", "audit_entries", ["tenant", "outcome", "at_us"], _NOT_SUCCESS),
    ("ix_audit_entries_actor_outcome", "audit_entries", ["actor", "outcome", "at_us"], _NOT_SUCCESS),
    ("ix_audit_entries_action_outcome", "audit_entries", ["action", "outcome", "at_us"], _NOT_SUCCESS),
)


def upgrade() -> None:
    op.drop_index("ix_bundles_case", table_name="bundles")
    op.drop_index("ix_bundles_in_progress", table_name="bundles")
    for name, table, columns, where in _INDEXES:
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for name, table, _columns, _where in reversed(_INDEXES):
        op.drop_index(name, table_name=table)
    op.create_index("ix_bundles_case", "bundles", ["case_id", "state"])
    op.create_index(
        "ix_bundles_in_progress",
        "bundles",
        ["time_collected", "id"],
        sqlite_where=_IN_PROGRESS,
        postgresql_where=_IN_PROGRESS,
    )
