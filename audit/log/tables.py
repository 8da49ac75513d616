"""The log's tables in SQLAlchemy Core, the same on SQLite and PostgreSQL.

- `audit_entries`: one row an entry. Rows are only added; afterwards only `leaf_index` is set once (by the
  sequencer) and particulars and salt are removed once (redaction). `leaf` is the truth; the other columns
  repeat it for queries, and the walker compares them.
- `audit_tree`: one row, the committed tree: its size and frontier.
- `audit_checkpoints`: every signed tree head ever published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

# SQLite numbers rows itself only for a column declared exactly INTEGER PRIMARY KEY.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("row", _RowNumber, primary_key=True, autoincrement=True),
    Column("entry_id", String, nullable=False, unique=True),
    Column("leaf_index", BigInteger),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", String, nullable=False),
    Column("actor_kind", String, nullable=False),
    Column("action", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("reason", String),
    Column("tenant", String),
    Column("case_id", String),
    Column("bundle", String),
    Column("subject", String),
    Column("leaf", LargeBinary, nullable=False),
    Column("particulars", Text),
    Column("salt", LargeBinary),
    Column("redacted_at", BigInteger),
    sqlite_autoincrement=True,  # a row number is never used twice, even if the last row was deleted
)

audit_tree = Table(
    "audit_tree",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("checkpoint_size", BigInteger, nullable=False),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

_entry = audit_entries.c

# Newest first within one filter: the second column gives the order. Where a column is often empty, the
# index holds only the rows that have it, so appending the others costs nothing.
for _name in ("actor", "action"):
    Index(f"ix_audit_entries_{_name}", _entry[_name], _entry.at_us)
for _name in ("case_id", "bundle", "tenant"):
    _present = _entry[_name].is_not(None)
    Index(
        f"ix_audit_entries_{_name}",
        _entry[_name],
        _entry.at_us,
        sqlite_where=_present,
        postgresql_where=_present,
    )
Index("ix_audit_entries_at", _entry.at_us)
# Refused and failed: few, and what an auditor asks for. The query must use the same words, or SQLite ignores the index.
NOT_SUCCESS = text("outcome <> 'success'")
Index(
    "ix_audit_entries_outcome",
    _entry.outcome,
    _entry.at_us,
    sqlite_where=NOT_SUCCESS,
    postgresql_where=NOT_SUCCESS,
)
# Two conditions at once: what an operator asks (their tenant is always one of two), and an auditor of a person.
_of_a_tenant = _entry.tenant.is_not(None)
for _name in ("actor", "action"):
    Index(
        f"ix_audit_entries_tenant_{_name}",
        _entry.tenant,
        _entry[_name],
        _entry.at_us,
        sqlite_where=_of_a_tenant,
        postgresql_where=_of_a_tenant,
    )
Index("ix_audit_entries_actor_action", _entry.actor, _entry.action, _entry.at_us)
for _name in ("tenant", "actor", "action"):
    Index(
        f"ix_audit_entries_{_name}_outcome",
        _entry[_name],
        _entry.outcome,
        _entry.at_us,
        sqlite_where=NOT_SUCCESS,
        postgresql_where=NOT_SUCCESS,
    )
# Two indexes that share the rows: an append touches the one, the sequencer moves its rows to the other.
_sequenced = _entry.leaf_index.is_not(None)
Index(
    "ux_audit_entries_leaf_index",
    _entry.leaf_index,
    unique=True,
    sqlite_where=_sequenced,
    postgresql_where=_sequenced,
)
_unsequenced = _entry.leaf_index.is_(None)
Index("ix_audit_entries_unsequenced", _entry.row, sqlite_where=_unsequenced, postgresql_where=_unsequenced)

# Acts that change who is allowed to read: the newest of a case, or of a bundle, is looked up at every read (an entry
# not numbered yet is newer; entries put back after a restore have their old numbers). The query uses the index's words.
CHANGING_ACCESS = (
    *("access.bound", "case.assigned", "case.closed", "case.opened", "case.reopened", "case.unassigned"),
    *("consent.given", "consent.revoked", "grant.ended", "grant.given", "grant.released", "grant.revoked"),
)
ACCESS_ACTS = text(
    "outcome = 'success' AND action IN (" + ", ".join(f"'{action}'" for action in CHANGING_ACCESS) + ")"
)
PLACING_ACTS = text("outcome = 'success' AND action IN ('bundle.claimed', 'bundle.moved')")
# Acts on a policy or a request of approval: the newest about it is looked up before it counts for anything.
APPROVAL_ACTS = text(
    "outcome = 'success' AND action IN ('approval-policy.set', 'approval.asked', 'approval.declined', "
    "'approval.given', 'approval.lapsed', 'approval.withdrawn')"
)
Index(
    "ix_audit_entries_access",
    _entry.case_id,
    _entry.leaf_index,
    _entry.row,
    sqlite_where=ACCESS_ACTS,
    postgresql_where=ACCESS_ACTS,
)
Index(
    "ix_audit_entries_placed",
    _entry.bundle,
    _entry.leaf_index,
    _entry.row,
    sqlite_where=PLACING_ACTS,
    postgresql_where=PLACING_ACTS,
)
# Acts after which a bundle's data is gone: asked of every bundle that is alive on record, when a service starts.
GONE_ACTS = text("outcome = 'success' AND action IN ('bundle.erased', 'bundle.erasing')")
Index("ix_audit_entries_gone", _entry.bundle, sqlite_where=GONE_ACTS, postgresql_where=GONE_ACTS)

Index(
    "ix_audit_entries_approvals",
    _entry.subject,
    _entry.leaf_index,
    _entry.row,
    sqlite_where=APPROVAL_ACTS,
    postgresql_where=APPROVAL_ACTS,
)

REVIEW_ACTS = text("outcome = 'success' AND action IN ('review.questioned', 'review.signed-off')")
Index(
    "ix_audit_entries_reviews",
    _entry.subject,
    _entry.leaf_index,
    _entry.row,
    sqlite_where=REVIEW_ACTS,
    postgresql_where=REVIEW_ACTS,
)

# Acts that say where notices go: the newest about a receiver is looked up before anything is sent to it.
RECEIVER_ACTS = text("outcome = 'success' AND action IN ('notice-receiver.added', 'notice-receiver.removed')")
Index(
    "ix_audit_entries_receivers",
    _entry.subject,
    _entry.leaf_index,
    _entry.row,
    sqlite_where=RECEIVER_ACTS,
    postgresql_where=RECEIVER_ACTS,
)

# The columns that repeat a field of the leaf, and its name there; `at_us` repeats `at` in another form.
LEAF_COLUMNS: Mapping[str, str] = {
    "entry_id": "id",
    "actor": "actor",
    "actor_kind": "actor_kind",
    "action": "action",
    "outcome": "outcome",
    "reason": "reason",
    "tenant": "tenant",
    "case_id": "case",
    "bundle": "bundle",
    "subject": "subject",
}


def fetch_tuples(connection: Connection, statement: Select[Any]) -> list[tuple[Any, ...]]:
    """Fetch rows as the driver's own tuples: of entries, whose columns need no conversion, many a second."""
    cursor: Any = connection.execute(statement).cursor
    return list(cursor.fetchall())
