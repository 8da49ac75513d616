"""Until when a received bundle is held by who reads it back"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bundles", sa.Column("claimed_until", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("bundles", "claimed_until")
