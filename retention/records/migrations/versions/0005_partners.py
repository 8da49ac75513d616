"""Partner companies by an opaque id, which leaves name them by"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    partners = op.create_table(
        "partners",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    # Where this version was taken back once: the companies of consents keep the ids that the log knows them by.
    if known := _named_by_consents(op.get_bind()):
        op.bulk_insert(partners, list(known.values()))


def _named_by_consents(connection: sa.Connection) -> dict[str, dict[str, object]]:
    given = sa.text(
        "SELECT leaf, particulars, at_us FROM audit_entries WHERE action = 'consent.given' "
        "AND outcome = 'success' AND particulars IS NOT NULL ORDER BY \"row\""
    )
    known: dict[str, dict[str, object]] = {}
    for leaf, particulars, at_us in connection.execute(given):
        company = json.loads(bytes(leaf)).get("details", {}).get("partner")
        name = json.loads(particulars).get("partner")
        if company is not None and name is not None:
            known.setdefault(name, {"id": company, "name": name, "first_seen_at": at_us})
    return known


def downgrade() -> None:
    op.drop_table("partners")
