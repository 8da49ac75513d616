"""Work on a bundle that cannot be done now: how often it failed, why, and when it is tried again"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_FAILING = "failures > 0 AND state IN ('receiving', 'received', 'erasing')"


def upgrade() -> None:
    op.add_column("bundles", sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("bundles", sa.Column("failure", sa.String(), nullable=True))
    op.add_column("bundles", sa.Column("next_try_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_bundles_failing",
        "bundles",
        ["next_try_at", "id"],
        sqlite_where=sa.text(_FAILING),
        postgresql_where=sa.text(_FAILING),
    )


def downgrade() -> None:
    op.drop_index("ix_bundles_failing", table_name="bundles")
    for name in ("next_try_at", "failure", "failures"):
        op.drop_column("bundles", name)
