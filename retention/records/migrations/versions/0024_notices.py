"""Notices, and who gets them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_ACTS = "outcome = 'success' AND action IN ('notice-receiver.added', 'notice-receiver.removed')"
_ROW = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    words = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=words, postgresql_where=words)


def upgrade() -> None:
    op.create_table(
        "notice_receivers",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant_id", sa.String(), sa.ForeignKey("tenants.id")),
        sa.Column("actor_id", sa.String(), sa.ForeignKey("actors.id")),
        sa.Column("way", sa.String(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("added_by", sa.String(), nullable=False),
        sa.Column("removed_at", sa.BigInteger()),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("failure", sa.String()),
        sa.Column("next_try_at", sa.BigInteger()),
        sa.Column("claim", sa.String()),
        sa.Column("claimed_until", sa.BigInteger()),
        sa.Column("delivered_at", sa.BigInteger()),
    )
    op.create_table(
        "notices",
        sa.Column("row", _ROW, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("receiver_id", sa.String(), sa.ForeignKey("notice_receivers.id"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("about", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), sa.ForeignKey("cases.id")),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("failure", sa.String()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("tag", sa.String(), nullable=False),
    )
    for owner in ("tenant", "actor"):
        columns = [f"{owner}_id", "added_at", "id"]
        _partial(f"ix_notice_receivers_{owner}", "notice_receivers", columns, "removed_at IS NULL")
    op.create_index("ix_notices_about", "notices", ["receiver_id", "kind", "about", "at"])
    op.create_index("ix_notices_receiver", "notices", ["receiver_id", "at", "id"])
    _partial("ix_notices_waiting", "notices", ["receiver_id", "row", "at"], "state = 'waiting'")
    _partial("ix_notices_ended", "notices", ["ended_at"], "state <> 'waiting'")
    _partial("ix_notices_given_up", "notices", ["id"], "state = 'given-up'")
    _partial("ix_audit_entries_receivers", "audit_entries", ["subject", "leaf_index", "row"], _ACTS)


def downgrade() -> None:
    op.drop_index("ix_audit_entries_receivers", table_name="audit_entries")
    op.drop_table("notices")
    op.drop_table("notice_receivers")
