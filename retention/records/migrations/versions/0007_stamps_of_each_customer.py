"""A stamp's identity is registered once by each customer, whatever another customer registered"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LIVE = "deregistered_at IS NULL"


def upgrade() -> None:
    _index(["subject", "tenant_id"])


def downgrade() -> None:
    """Refused by the database while two customers have one identity registered: deregister one first."""
    _index(["subject"])


def _index(columns: list[str]) -> None:
    op.drop_index("ux_stamps_subject", table_name="stamps")
    live = sa.text(_LIVE)
    op.create_index(
        "ux_stamps_subject", "stamps", columns, unique=True, sqlite_where=live, postgresql_where=live
    )
