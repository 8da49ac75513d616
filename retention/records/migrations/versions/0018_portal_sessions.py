"""Sessions of people at the portal"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "portal_sessions",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("secret_digest", sa.String(), nullable=False, unique=True),
        sa.Column("actor_id", sa.String(), sa.ForeignKey("actors.id"), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("directory", sa.String()),
        sa.Column("partner", sa.String()),
        sa.Column("issuer_session", sa.String()),
        sa.Column("sealed", sa.LargeBinary()),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("renew_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
    )
    op.create_index("ix_portal_sessions_actor_id", "portal_sessions", ["actor_id"])
    op.create_index("ix_portal_sessions_ends_at", "portal_sessions", ["ends_at"])


def downgrade() -> None:
    op.drop_table("portal_sessions")
