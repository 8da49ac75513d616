"""Indexes for what people ask the log: who is called so, and which grants nobody used"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_actors_called", "actors", ["subject"])
    op.create_index("ix_grants_given", "grants", ["granted_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_grants_given", table_name="grants")
    op.drop_index("ix_actors_called", table_name="actors")
