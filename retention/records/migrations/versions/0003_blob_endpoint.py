"""Upload links, and blobs that come through them in blocks"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BLOB = "blob_name IS NOT NULL AND state NOT IN ('erasing', 'erased')"
_NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "upload_links",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("stamp_id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=True),
        sa.Column("permissions", sa.String(), nullable=False),
        sa.Column("addresses", sa.String(), nullable=True),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=True),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        sa.ForeignKeyConstraint(["stamp_id"], ["stamps.id"]),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_upload_links_stamp_id"), "upload_links", ["stamp_id"])
    op.create_index(op.f("ix_upload_links_case_id"), "upload_links", ["case_id"])
    op.create_table(
        "staged_blocks",
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("block_id", sa.String(), nullable=False),
        sa.Column("part_id", sa.String(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("staged_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["bundle_id"], ["bundles.id"]),
        sa.PrimaryKeyConstraint("bundle_id", "block_id"),
    )
    op.add_column("parts", sa.Column("block_id", sa.String(), nullable=True))
    op.add_column("bundles", sa.Column("link_id", sa.String(), nullable=True))
    op.add_column("bundles", sa.Column("blob_name", _NAME, nullable=True))
    op.add_column("bundles", sa.Column("blob_facts", sa.Text(), nullable=True))
    op.create_index(
        "ux_bundles_blob",
        "bundles",
        ["link_id", "blob_name"],
        unique=True,
        sqlite_where=sa.text(_BLOB),
        postgresql_where=sa.text(_BLOB),
    )
    _index_again("ix_bundles_expiring", "expires_at", "state IN ('staging', 'receiving')")
    _index_again("ix_bundles_in_progress", "time_collected", "state IN ('staging', 'receiving', 'received')")


def downgrade() -> None:
    _index_again("ix_bundles_in_progress", "time_collected", "state IN ('receiving', 'received')")
    _index_again("ix_bundles_expiring", "expires_at", "state = 'receiving'")
    op.drop_index("ux_bundles_blob", table_name="bundles")
    for column in ("blob_facts", "blob_name", "link_id"):
        op.drop_column("bundles", column)
    op.drop_column("parts", "block_id")
    op.drop_table("staged_blocks")
    op.drop_index(op.f("ix_upload_links_case_id"), table_name="upload_links")
    op.drop_index(op.f("ix_upload_links_stamp_id"), table_name="upload_links")
    op.drop_table("upload_links")


def _index_again(name: str, column: str, where: str) -> None:
    op.drop_index(name, table_name="bundles")
    condition = sa.text(where)
    op.create_index(name, "bundles", [column, "id"], sqlite_where=condition, postgresql_where=condition)
