"""How each part's associated data is framed: 1 for all that were sealed so far"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("parts", "staged_blocks"):
        op.add_column(table, sa.Column("framing", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    for table in ("parts", "staged_blocks"):
        op.drop_column(table, "framing")
