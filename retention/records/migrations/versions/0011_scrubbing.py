"""The scrubbing: when each bundle was last read back, and how its rounds went"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_CHECKED = "checked_at IS NOT NULL AND state IN ('complete', 'damaged')"
_DAMAGED = "state = 'damaged'"


def upgrade() -> None:
    op.add_column("bundles", sa.Column("checked_at", sa.BigInteger()))
    op.execute("UPDATE bundles SET checked_at = verified_at")
    for name, columns, where in (
        ("ix_bundles_checked", ["checked_at", "id"], _CHECKED),
        ("ix_bundles_damaged", ["id"], _DAMAGED),
    ):
        op.create_index(
            name, "bundles", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
        )
    op.create_table(
        "scrubs",
        sa.Column(
            "row", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=True
        ),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("checked", sa.Integer(), nullable=False),
        sa.Column("damaged", sa.Integer(), nullable=False),
        sa.Column("unjudged", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("row"),
    )


def downgrade() -> None:
    op.drop_table("scrubs")
    op.drop_index("ix_bundles_damaged", table_name="bundles")
    op.drop_index("ix_bundles_checked", table_name="bundles")
    op.drop_column("bundles", "checked_at")
