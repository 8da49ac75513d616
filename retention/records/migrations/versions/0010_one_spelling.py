"""Names that others gave are in one spelling (NFC); names of files that were erased are nowhere any more"""

from __future__ import annotations

import json
import time
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Table: its names, and within what no two of them may be the same (None: they may).
_NAMES: dict[str, tuple[list[str], list[str] | None]] = {
    "actors": (["issuer", "subject"], []),
    "tenants": (["directory"], []),
    "stamps": (["subject"], ["tenant_id", "deregistered_at"]),
    "partners": (["name"], []),
    "consents": (["partner"], None),
}
_FORGOTTEN = {
    "upload.created": "file_name",
    "bundle.opened": "file",
    "bundle.listed": "inside",
    "bundle.moved": "reason",
}


def upgrade() -> None:
    connection = op.get_bind()
    for table, (names, within) in _NAMES.items():
        _respell(connection, table, names, within)
    _forget(connection)


def downgrade() -> None:
    """Nothing: the older version takes both as they are."""


def _respell(connection: sa.Connection, name: str, names: list[str], within: list[str] | None) -> None:
    """Each name in form C. Where that is there already, the other is left as it is: the one in form C counts."""
    table = sa.table(name, *(sa.column(column) for column in ("id", *names, *(within or ()))))
    rows = connection.execute(sa.select(table)).mappings().all()
    known = {tuple(row[column] for column in (*names, *(within or ()))) for row in rows}
    for row in rows:
        new = {column: unicodedata.normalize("NFC", row[column]) for column in names}
        place = (*new.values(), *(row[column] for column in within or ()))
        if all(new[column] == row[column] for column in names) or (within is not None and place in known):
            continue
        known.add(place)
        connection.execute(sa.update(table).where(table.c.id == row["id"]).values(new))


def _forget(connection: sa.Connection) -> None:
    """What an erasure does from this version on, for the bundles that were erased before."""
    found = sa.text(
        "SELECT e.entry_id, e.action, e.particulars FROM audit_entries e JOIN bundles b ON b.id = e.bundle "
        "WHERE b.state = 'erased' AND e.particulars IS NOT NULL AND e.action IN "
        "('upload.created', 'bundle.opened', 'bundle.listed', 'bundle.moved')"
    )
    redact = sa.text(
        "UPDATE audit_entries SET particulars = NULL, salt = NULL, redacted_at = :at WHERE entry_id = :entry"
    )
    now = time.time_ns() // 1000
    for entry, action, particulars in connection.execute(found).all():
        if _FORGOTTEN[action] in json.loads(particulars):
            connection.execute(redact, {"at": now, "entry": entry})
