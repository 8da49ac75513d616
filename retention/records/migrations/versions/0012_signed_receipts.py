"""Receipts keep their signature: the clock signs them, who answers callers holds no key"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_UNSIGNED = "note IS NULL"


def upgrade() -> None:
    op.add_column("receipts", sa.Column("note", sa.Text()))
    op.create_index(
        "ix_receipts_unsigned",
        "receipts",
        ["issued_at"],
        sqlite_where=sa.text(_UNSIGNED),
        postgresql_where=sa.text(_UNSIGNED),
    )


def downgrade() -> None:
    op.drop_index("ix_receipts_unsigned", table_name="receipts")
    op.drop_column("receipts", "note")
