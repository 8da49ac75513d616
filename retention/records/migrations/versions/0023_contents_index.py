"""The sealed contents index of each bundle: bundles from before get theirs by the clock"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bundles", sa.Column("index_id", sa.String()))
    op.add_column("bundles", sa.Column("index_next_at", sa.BigInteger()))
    op.add_column(
        "bundles", sa.Column("index_tries", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
    waiting = sa.text("index_next_at IS NOT NULL AND state = 'complete'")
    op.create_index(
        "ix_bundles_unindexed",
        "bundles",
        ["index_next_at", "id"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.execute(
        "UPDATE bundles SET index_next_at = checked_at"
        " WHERE checked_at IS NOT NULL AND size > 0 AND state IN ('complete', 'damaged')"
    )


def downgrade() -> None:
    op.drop_index("ix_bundles_unindexed", table_name="bundles")
    op.drop_column("bundles", "index_tries")
    op.drop_column("bundles", "index_next_at")
    op.drop_column("bundles", "index_id")
