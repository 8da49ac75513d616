"""The first schema: records and audit log"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "actors",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ux_actors_subject", "actors", ["issuer", "subject"], unique=True)
    op.create_table(
        "receipts",
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject_id"),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("directory", sa.String(), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("directory"),
    )
    op.create_table(
        "cases",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
    )
    op.create_index("ix_cases_opened", "cases", ["opened_at", "id"], unique=False)
    op.create_index("ix_cases_tenant", "cases", ["tenant_id", "opened_at", "id"], unique=False)
    op.create_table(
        "stamps",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("proactive", sa.Boolean(), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.Column("deregistered_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_stamps_tenant_id"), "stamps", ["tenant_id"], unique=False)
    op.create_index(
        "ux_stamps_subject",
        "stamps",
        ["subject"],
        unique=True,
        sqlite_where=sa.text("deregistered_at IS NULL"),
        postgresql_where=sa.text("deregistered_at IS NULL"),
    )
    op.create_table(
        "assignments",
        sa.Column(
            "row", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=False),
        sa.Column("assigned_at", sa.BigInteger(), nullable=False),
        sa.Column("unassigned_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["actor_id"],
            ["actors.id"],
        ),
        sa.ForeignKeyConstraint(
            ["case_id"],
            ["cases.id"],
        ),
        sa.PrimaryKeyConstraint("row"),
    )
    op.create_index("ix_assignments_actor", "assignments", ["actor_id", "case_id"], unique=False)
    op.create_index("ix_assignments_case", "assignments", ["case_id", "actor_id"], unique=False)
    op.create_table(
        "bundles",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("stamp_id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=True),
        sa.Column("uploader_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("send_logs_now", sa.Boolean(), nullable=False),
        sa.Column("logs_start", sa.BigInteger(), nullable=False),
        sa.Column("logs_end", sa.BigInteger(), nullable=False),
        sa.Column("time_collected", sa.BigInteger(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=True),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("file_name", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("announced_sha256", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("writer", sa.String(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=True),
        sa.Column("manifest", sa.String(), nullable=True),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.Column("cap_at", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.Column("erased_cause", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["case_id"],
            ["cases.id"],
        ),
        sa.ForeignKeyConstraint(
            ["stamp_id"],
            ["stamps.id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_bundles_case", "bundles", ["case_id", "state"], unique=False)
    op.create_index("ix_bundles_collected", "bundles", ["time_collected", "id"], unique=False)
    op.create_index(
        "ix_bundles_due",
        "bundles",
        ["due_at", "id"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL AND state NOT IN ('erasing', 'erased')"),
        postgresql_where=sa.text("due_at IS NOT NULL AND state NOT IN ('erasing', 'erased')"),
    )
    op.create_index(
        "ix_bundles_expiring",
        "bundles",
        ["expires_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'receiving'"),
        postgresql_where=sa.text("state = 'receiving'"),
    )
    op.create_index(
        "ix_bundles_received",
        "bundles",
        ["received_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'received'"),
        postgresql_where=sa.text("state = 'received'"),
    )
    op.create_index("ix_bundles_stamp", "bundles", ["stamp_id", "time_collected", "id"], unique=False)
    op.create_index("ix_bundles_tenant", "bundles", ["tenant_id", "time_collected", "id"], unique=False)
    op.create_table(
        "case_events",
        sa.Column(
            "row", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("effective_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id"],
            ["cases.id"],
        ),
        sa.PrimaryKeyConstraint("row"),
    )
    op.create_index(op.f("ix_case_events_case_id"), "case_events", ["case_id"], unique=False)
    op.create_table(
        "consents",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("partner", sa.String(), nullable=False),
        sa.Column("whole_case", sa.Boolean(), nullable=False),
        sa.Column("given_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["case_id"],
            ["cases.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_consents_case_id"), "consents", ["case_id"], unique=False)
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("confirmation", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=True),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("on_demand", sa.Boolean(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=False),
        sa.Column("proven_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["case_id"],
            ["cases.id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("confirmation"),
    )
    op.create_index("ix_erasures_case", "erasures", ["case_id", "requested_at", "id"], unique=False)
    op.create_index(
        "ix_erasures_pending",
        "erasures",
        ["on_demand", "requested_at", "id"],
        unique=False,
        sqlite_where=sa.text("proven_at IS NULL"),
        postgresql_where=sa.text("proven_at IS NULL"),
    )
    op.create_index("ix_erasures_tenant", "erasures", ["tenant_id", "requested_at", "id"], unique=False)
    op.create_table(
        "proactive_consents",
        sa.Column(
            "row", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("stamp_id", sa.String(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["stamp_id"],
            ["stamps.id"],
        ),
        sa.PrimaryKeyConstraint("row"),
    )
    op.create_index(op.f("ix_proactive_consents_stamp_id"), "proactive_consents", ["stamp_id"], unique=False)
    op.create_table(
        "consent_bundles",
        sa.Column("consent_id", sa.String(), nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_id"],
            ["bundles.id"],
        ),
        sa.ForeignKeyConstraint(
            ["consent_id"],
            ["consents.id"],
        ),
        sa.PrimaryKeyConstraint("consent_id", "bundle_id"),
    )
    op.create_table(
        "erasure_bundles",
        sa.Column("erasure_id", sa.String(), nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_id"],
            ["bundles.id"],
        ),
        sa.ForeignKeyConstraint(
            ["erasure_id"],
            ["erasures.id"],
        ),
        sa.PrimaryKeyConstraint("erasure_id", "bundle_id"),
    )
    op.create_index("ix_erasure_bundles_bundle", "erasure_bundles", ["bundle_id"], unique=False)
    op.create_table(
        "grants",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=False),
        sa.Column("consent_id", sa.String(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("end_cause", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["actor_id"],
            ["actors.id"],
        ),
        sa.ForeignKeyConstraint(
            ["case_id"],
            ["cases.id"],
        ),
        sa.ForeignKeyConstraint(
            ["consent_id"],
            ["consents.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_grants_actor", "grants", ["actor_id", "case_id", "expires_at"], unique=False)
    op.create_index("ix_grants_case", "grants", ["case_id", "granted_at", "id"], unique=False)
    op.create_table(
        "parts",
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("part_id", sa.String(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_id"],
            ["bundles.id"],
        ),
        sa.PrimaryKeyConstraint("bundle_id", "number"),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("size"),
    )
    op.create_table(
        "audit_entries",
        sa.Column(
            "row", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), nullable=True),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("actor_kind", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("tenant", sa.String(), nullable=True),
        sa.Column("case_id", sa.String(), nullable=True),
        sa.Column("bundle", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("particulars", sa.Text(), nullable=True),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("redacted_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("row"),
        sa.UniqueConstraint("entry_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_entries_action", "audit_entries", ["action", "at_us"], unique=False)
    op.create_index("ix_audit_entries_actor", "audit_entries", ["actor", "at_us"], unique=False)
    op.create_index("ix_audit_entries_at", "audit_entries", ["at_us"], unique=False)
    op.create_index(
        "ix_audit_entries_bundle",
        "audit_entries",
        ["bundle", "at_us"],
        unique=False,
        sqlite_where=sa.text("bundle IS NOT NULL"),
        postgresql_where=sa.text("bundle IS NOT NULL"),
    )
    op.create_index(
        "ix_audit_entries_case_id",
        "audit_entries",
        ["case_id", "at_us"],
        unique=False,
        sqlite_where=sa.text("case_id IS NOT NULL"),
        postgresql_where=sa.text("case_id IS NOT NULL"),
    )
    op.create_index(
        "ix_audit_entries_tenant",
        "audit_entries",
        ["tenant", "at_us"],
        unique=False,
        sqlite_where=sa.text("tenant IS NOT NULL"),
        postgresql_where=sa.text("tenant IS NOT NULL"),
    )
    op.create_index(
        "ix_audit_entries_unsequenced",
        "audit_entries",
        ["row"],
        unique=False,
        sqlite_where=sa.text("leaf_index IS NULL"),
        postgresql_where=sa.text("leaf_index IS NULL"),
    )
    op.create_index(
        "ux_audit_entries_leaf_index",
        "audit_entries",
        ["leaf_index"],
        unique=True,
        sqlite_where=sa.text("leaf_index IS NOT NULL"),
        postgresql_where=sa.text("leaf_index IS NOT NULL"),
    )
    op.create_table(
        "audit_tree",
        sa.Column("id", sa.Integer(), sa.CheckConstraint("id = 1"), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.Column("checkpoint_size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    op.drop_table("audit_tree")
    op.drop_index(
        "ux_audit_entries_leaf_index",
        table_name="audit_entries",
        sqlite_where=sa.text("leaf_index IS NOT NULL"),
        postgresql_where=sa.text("leaf_index IS NOT NULL"),
    )
    op.drop_index(
        "ix_audit_entries_unsequenced",
        table_name="audit_entries",
        sqlite_where=sa.text("leaf_index IS NULL"),
        postgresql_where=sa.text("leaf_index IS NULL"),
    )
    op.drop_index(
        "ix_audit_entries_tenant",
        table_name="audit_entries",
        sqlite_where=sa.text("tenant IS NOT NULL"),
        postgresql_where=sa.text("tenant IS NOT NULL"),
    )
    op.drop_index(
        "ix_audit_entries_case_id",
        table_name="audit_entries",
        sqlite_where=sa.text("case_id IS NOT NULL"),
        postgresql_where=sa.text("case_id IS NOT NULL"),
    )
    op.drop_index(
        "ix_audit_entries_bundle",
        table_name="audit_entries",
        sqlite_where=sa.text("bundle IS NOT NULL"),
        postgresql_where=sa.text("bundle IS NOT NULL"),
    )
    op.drop_index("ix_audit_entries_at", table_name="audit_entries")
    op.drop_index("ix_audit_entries_actor", table_name="audit_entries")
    op.drop_index("ix_audit_entries_action", table_name="audit_entries")
    op.drop_table("audit_entries")
    op.drop_table("audit_checkpoints")
    op.drop_table("parts")
    op.drop_index("ix_grants_case", table_name="grants")
    op.drop_index("ix_grants_actor", table_name="grants")
    op.drop_table("grants")
    op.drop_index("ix_erasure_bundles_bundle", table_name="erasure_bundles")
    op.drop_table("erasure_bundles")
    op.drop_table("consent_bundles")
    op.drop_index(op.f("ix_proactive_consents_stamp_id"), table_name="proactive_consents")
    op.drop_table("proactive_consents")
    op.drop_index("ix_erasures_tenant", table_name="erasures")
    op.drop_index(
        "ix_erasures_pending",
        table_name="erasures",
        sqlite_where=sa.text("proven_at IS NULL"),
        postgresql_where=sa.text("proven_at IS NULL"),
    )
    op.drop_index("ix_erasures_case", table_name="erasures")
    op.drop_table("erasures")
    op.drop_index(op.f("ix_consents_case_id"), table_name="consents")
    op.drop_table("consents")
    op.drop_index(op.f("ix_case_events_case_id"), table_name="case_events")
    op.drop_table("case_events")
    op.drop_index("ix_bundles_tenant", table_name="bundles")
    op.drop_index("ix_bundles_stamp", table_name="bundles")
    op.drop_index(
        "ix_bundles_received",
        table_name="bundles",
        sqlite_where=sa.text("state = 'received'"),
        postgresql_where=sa.text("state = 'received'"),
    )
    op.drop_index(
        "ix_bundles_expiring",
        table_name="bundles",
        sqlite_where=sa.text("state = 'receiving'"),
        postgresql_where=sa.text("state = 'receiving'"),
    )
    op.drop_index(
        "ix_bundles_due",
        table_name="bundles",
        sqlite_where=sa.text("due_at IS NOT NULL AND state NOT IN ('erasing', 'erased')"),
        postgresql_where=sa.text("due_at IS NOT NULL AND state NOT IN ('erasing', 'erased')"),
    )
    op.drop_index("ix_bundles_collected", table_name="bundles")
    op.drop_index("ix_bundles_case", table_name="bundles")
    op.drop_table("bundles")
    op.drop_index("ix_assignments_case", table_name="assignments")
    op.drop_index("ix_assignments_actor", table_name="assignments")
    op.drop_table("assignments")
    op.drop_index(
        "ux_stamps_subject",
        table_name="stamps",
        sqlite_where=sa.text("deregistered_at IS NULL"),
        postgresql_where=sa.text("deregistered_at IS NULL"),
    )
    op.drop_index(op.f("ix_stamps_tenant_id"), table_name="stamps")
    op.drop_table("stamps")
    op.drop_index("ix_cases_tenant", table_name="cases")
    op.drop_index("ix_cases_opened", table_name="cases")
    op.drop_table("cases")
    op.drop_table("tenants")
    op.drop_table("receipts")
    op.drop_index("ux_actors_subject", table_name="actors")
    op.drop_table("actors")
