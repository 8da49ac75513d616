"""Indexes for what was still searched row by row at a million bundles

Bundles in progress, grants under a consent, a partner's consents, erasures by who began them and by time, the erase
work list in the order in which it is worked off, and refused or failed entries.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NEW = (
    ("ix_bundles_in_progress", "bundles", ["time_collected", "id"], "state IN ('receiving', 'received')"),
    ("ix_consents_partner", "consents", ["partner", "case_id"], None),
    ("ix_grants_consent", "grants", ["consent_id"], "consent_id IS NOT NULL"),
    ("ix_erasures_actor", "erasures", ["actor_id", "requested_at", "id"], None),
    ("ix_erasures_requested", "erasures", ["requested_at", "id"], None),
    ("ix_audit_entries_outcome", "audit_entries", ["outcome", "at_us"], "outcome <> 'success'"),
)
_PENDING = "ix_erasures_pending"


def upgrade() -> None:
    for name, table, columns, where in _NEW:
        _create(name, table, columns, where)
    op.drop_index(_PENDING, table_name="erasures")
    _create(_PENDING, "erasures", [sa.text("on_demand DESC"), "requested_at", "id"], "proven_at IS NULL")


def downgrade() -> None:
    op.drop_index(_PENDING, table_name="erasures")
    _create(_PENDING, "erasures", ["on_demand", "requested_at", "id"], "proven_at IS NULL")
    for name, table, _columns, _where in reversed(_NEW):
        op.drop_index(name, table_name=table)


def _create(name: str, table: str, columns: Sequence[str | sa.TextClause], where: str | None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
