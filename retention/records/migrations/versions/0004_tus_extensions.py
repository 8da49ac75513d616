"""Uploads of a length told later, and partial uploads that a final one is made of"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PARTIAL = "partial AND state = 'received'"


def upgrade() -> None:
    for name in ("deferred", "partial"):
        op.add_column("bundles", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        "ix_bundles_partial",
        "bundles",
        ["expires_at", "id"],
        sqlite_where=sa.text(_PARTIAL),
        postgresql_where=sa.text(_PARTIAL),
    )
    op.create_table(
        "concatenations",
        sa.Column("final_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("partial_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["final_id"], ["bundles.id"]),
        sa.ForeignKeyConstraint(["partial_id"], ["bundles.id"]),
        sa.PrimaryKeyConstraint("final_id", "number"),
        sa.UniqueConstraint("partial_id"),
    )


def downgrade() -> None:
    op.drop_table("concatenations")
    op.drop_index("ix_bundles_partial", table_name="bundles")
    op.drop_column("bundles", "partial")
    op.drop_column("bundles", "deferred")
