"""What was erased on demand is refused for a while when it is sent again"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bundles", sa.Column("resend_mark", sa.String()))
    op.add_column("bundles", sa.Column("resend_until", sa.BigInteger()))
    op.add_column("erasures", sa.Column("resend_until", sa.BigInteger()))
    marked = sa.text("resend_mark IS NOT NULL")
    op.create_index(
        "ix_bundles_resendable", "bundles", ["resend_mark"], sqlite_where=marked, postgresql_where=marked
    )


def downgrade() -> None:
    op.drop_index("ix_bundles_resendable", table_name="bundles")
    op.drop_column("erasures", "resend_until")
    op.drop_column("bundles", "resend_until")
    op.drop_column("bundles", "resend_mark")
