"""What binds rows to the service: tags, and one row a case over everything that lets somebody read it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TAGGED = ("actors", "tenants", "partners", "stamps", "bundles")
_ACCESS = (
    "outcome = 'success' AND action IN ('access.bound', 'case.assigned', 'case.closed', 'case.opened', "
    "'case.reopened', 'case.unassigned', 'consent.given', 'consent.revoked', 'grant.ended', 'grant.given', "
    "'grant.released', 'grant.revoked')"
)
_PLACED = "outcome = 'success' AND action IN ('bundle.claimed', 'bundle.moved')"
_INDEXES = {
    "ix_audit_entries_access": ("audit_entries", ["case_id", "leaf_index", "row"], _ACCESS),
    "ix_audit_entries_placed": ("audit_entries", ["bundle", "leaf_index", "row"], _PLACED),
    "ix_grants_live": ("grants", ["case_id", "expires_at"], "ended_at IS NULL"),
}


def upgrade() -> None:
    for table in _TAGGED:
        op.add_column(table, sa.Column("tag", sa.String()))
    for name, (table, columns, where) in _INDEXES.items():
        op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_table(
        "case_access",
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.PrimaryKeyConstraint("case_id"),
    )
    op.create_table(
        "binding",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bound_at", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.CheckConstraint("id = 1"),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    op.drop_table("binding")
    op.drop_table("case_access")
    for name, (table, _columns, _where) in _INDEXES.items():
        op.drop_index(name, table_name=table)
    for table in _TAGGED:
        op.drop_column(table, "tag")
