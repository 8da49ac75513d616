"""Reviews of grants that are over"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_ACTS = "outcome = 'success' AND action IN ('review.questioned', 'review.signed-off')"


def upgrade() -> None:
    op.add_column("grants", sa.Column("signed_off_at", sa.BigInteger()))
    op.create_table(
        "reviews",
        sa.Column("id", sa.String(), sa.ForeignKey("grants.id"), primary_key=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reviewed_at", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
    )
    acts, unsigned = sa.text(_ACTS), sa.text("signed_off_at IS NULL")
    op.create_index(
        "ix_audit_entries_reviews",
        "audit_entries",
        ["subject", "leaf_index", "row"],
        sqlite_where=acts,
        postgresql_where=acts,
    )
    op.create_index(
        "ix_grants_to_review",
        "grants",
        ["granted_at", "id"],
        sqlite_where=unsigned,
        postgresql_where=unsigned,
    )


def downgrade() -> None:
    op.drop_index("ix_grants_to_review", table_name="grants")
    op.drop_index("ix_audit_entries_reviews", table_name="audit_entries")
    op.drop_table("reviews")
    op.drop_column("grants", "signed_off_at")
