"""Approval of access by the customer: what they chose, and the requests"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_ACTS = (
    "outcome = 'success' AND action IN ('approval-policy.set', 'approval.asked', 'approval.declined', "
    "'approval.given', 'approval.lapsed', 'approval.withdrawn')"
)


def upgrade() -> None:
    op.create_table(
        "approval_policies",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant_id", sa.String(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("case_id", sa.String(), sa.ForeignKey("cases.id")),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("long_minutes", sa.Integer(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=False),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant_id", sa.String(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("case_id", sa.String(), sa.ForeignKey("cases.id"), nullable=False),
        sa.Column("actor_id", sa.String(), sa.ForeignKey("actors.id"), nullable=False),
        sa.Column("partner", sa.String()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("duration_us", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("lapses_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("answered_at", sa.BigInteger()),
        sa.Column("answered_by", sa.String()),
        sa.Column("note", sa.Text()),
        sa.Column("grant_id", sa.String(), sa.ForeignKey("grants.id"), unique=True),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
    )
    op.create_index("ix_approvals_case", "approvals", ["case_id", "asked_at", "id"])
    op.create_index("ix_approvals_tenant", "approvals", ["tenant_id", "asked_at", "id"])
    op.create_index("ix_approvals_actor", "approvals", ["actor_id", "asked_at", "id"])
    op.create_index("ix_approvals_at", "approvals", ["asked_at", "id"])
    waiting, acts = sa.text("state = 'asked'"), sa.text(_ACTS)
    op.create_index(
        "ix_approvals_asked",
        "approvals",
        ["lapses_at", "id"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index(
        "ix_audit_entries_approvals",
        "audit_entries",
        ["subject", "leaf_index", "row"],
        sqlite_where=acts,
        postgresql_where=acts,
    )


def downgrade() -> None:
    op.drop_index("ix_audit_entries_approvals", table_name="audit_entries")
    op.drop_table("approvals")
    op.drop_table("approval_policies")
