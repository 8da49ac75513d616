"""How each part's associated data is framed: 1 for all that were sealed so far"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = ("parts", "staged_blocks")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("framing", sa.Integer(), nullable=False, server_default="1"))
        op.execute(f"UPDATE {table} SET framing = 2, digest = substr(digest, 3) WHERE digest LIKE '2:%'")


def downgrade() -> None:
    """What was sealed since is marked: the version before cannot open it, and must not call it damaged."""
    for table in _TABLES:
        op.execute(f"UPDATE {table} SET digest = '2:' || digest WHERE framing = 2")
        op.drop_column(table, "framing")
