"""What is being erased, and what the log says is gone, are found without looking at all that is kept"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_ERASING = sa.text("state = 'erasing'")
_GONE = sa.text("outcome = 'success' AND action IN ('bundle.erased', 'bundle.erasing')")


def upgrade() -> None:
    op.create_index(
        "ix_bundles_erasing", "bundles", ["due_at", "id"], sqlite_where=_ERASING, postgresql_where=_ERASING
    )
    op.create_index(
        "ix_audit_entries_gone", "audit_entries", ["bundle"], sqlite_where=_GONE, postgresql_where=_GONE
    )


def downgrade() -> None:
    op.drop_index("ix_audit_entries_gone", table_name="audit_entries")
    op.drop_index("ix_bundles_erasing", table_name="bundles")
