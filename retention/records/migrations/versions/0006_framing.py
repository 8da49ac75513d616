"""How each part's associated data is framed: 1 for all that were sealed so far"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = [
    sa.table(name, sa.column("digest", sa.String), sa.column("framing", sa.Integer))
    for name in ("parts", "staged_blocks")
]


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table.name, sa.Column("framing", sa.Integer(), nullable=False, server_default="1"))
        marked = sa.update(table).where(table.c.digest.startswith("2:"))
        op.execute(marked.values(framing=2, digest=sa.func.substr(table.c.digest, 3)))


def downgrade() -> None:
    """What was sealed since is marked: the version before cannot open it, and must not call it damaged."""
    for table in _TABLES:
        sealed_since = sa.update(table).where(table.c.framing == 2)
        op.execute(sealed_since.values(digest="2:" + table.c.digest))
        op.drop_column(table.name, "framing")
