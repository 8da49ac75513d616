"""Upload-Metadata as its sender gave it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bundles", sa.Column("upload_metadata", sa.Text()))


def downgrade() -> None:
    op.drop_column("bundles", "upload_metadata")
