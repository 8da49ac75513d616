"""The tables of the records: tenants, stamps, cases, bundles, grants, consents, approvals, erasures.

Rules:
- Moments are BIGINT microseconds since the epoch, UTC. Ids are opaque (`retention.domain.ids`).
- Nothing is deleted but parts and blocks of an erased bundle, and blocks that a commit used or dropped: ended grants,
  revoked consents and tombstones stay listed.
- There is no key material here, wrapped or not (P7).
- `tag` binds a row to the service (`retention.domain.row_tag`); rows from before there were tags have none until they
  are bound.
- `bundles.due_at` repeats what `retention.domain.deadline` computes, so that the sweep finds due bundles by an index;
  the decision to erase is made from the history again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    TypeDecorator,
    false,
    literal_column,
    text,
)

from audit.times import from_microseconds, to_microseconds

metadata = MetaData()


class Moment(TypeDecorator[datetime]):
    """An aware datetime in Python, microseconds since the epoch in the database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_microseconds(value)


BlobName = String().with_variant(String(collation="C"), "postgresql")
"""Text ordered by code points, as the Blob service lists names; SQLite's default."""

# SQLite numbers rows itself only for a column declared exactly INTEGER PRIMARY KEY.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")

# The conditions of partial indexes. SQLite uses such an index only for a query with the very same words: never for one
# whose states are bound parameters. So queries take them from here, and `partial_index` takes nothing else.
WAITING = text("due_at IS NOT NULL AND state NOT IN ('erasing', 'erased')")
ASKED = text("state = 'asked'")
TO_REVIEW = text("signed_off_at IS NULL")
UNUSED = text("partial AND state = 'received'")
FAILING = text("failures > 0 AND state IN ('receiving', 'received', 'erasing')")
UNSIGNED = text("note IS NULL")
UNCLAIMED = text("case_id IS NULL")
LISTED = text("id > ''")
UNCOMMITTED = text("state IN ('staging', 'receiving')")
RECEIVED = text("state = 'received'")
ERASING = text("state = 'erasing'")
NAMED = text("blob_name IS NOT NULL AND state NOT IN ('erasing', 'erased')")
SCRUBBED = text("checked_at IS NOT NULL AND state IN ('complete', 'damaged')")
DAMAGED = text("state = 'damaged'")
UNINDEXED = text("index_next_at IS NOT NULL AND state = 'complete'")
RESENDABLE = text("resend_mark IS NOT NULL")
REGISTERED = text("deregistered_at IS NULL")
NOT_ENDED = text("ended_at IS NULL")
WITH_CONSENT = text("consent_id IS NOT NULL")
UNPROVEN = text("proven_at IS NULL")
NOT_REMOVED = text("removed_at IS NULL")
UNSENT = text("state = 'waiting'")
SENT_OR_NOT = text("state <> 'waiting'")
GIVEN_UP = text("state = 'given-up'")


def partial_index(name: str, *columns: str | TextClause, where: TextClause, unique: bool = False) -> Index:
    """Declare an index that holds only the rows that meet `where`, one of the conditions above."""
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


def in_words(column: ColumnElement[str], values: Iterable[str]) -> ColumnElement[bool]:
    """Make the condition that a column has one of our own constants, written out as in a partial index and with the
    column's table, for a query that joins others. Never for what a caller gave."""
    return column.in_([literal_column(f"'{value}'") for value in values])


actors = Table(
    "actors",
    metadata,
    Column("id", String, primary_key=True),
    Column("issuer", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("name", String),
    Column("first_seen_at", Moment, nullable=False),
    Column("tag", String),
    Index("ux_actors_subject", "issuer", "subject", unique=True),
    Index("ix_actors_called", "subject"),
)

partners = Table(
    "partners",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("first_seen_at", Moment, nullable=False),
    Column("tag", String),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("directory", String, nullable=False, unique=True),
    Column("registered_at", Moment, nullable=False),
    Column("tag", String),
)

stamps = Table(
    "stamps",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("proactive", Boolean, nullable=False),
    Column("registered_at", Moment, nullable=False),
    Column("deregistered_at", Moment),
    Column("tag", String),
    # One live registration of a subject by each customer; a deregistered stamp can be registered anew.
    partial_index("ux_stamps_subject", "subject", "tenant_id", where=REGISTERED, unique=True),
)

proactive_consents = Table(
    "proactive_consents",
    metadata,
    Column("row", _RowNumber, primary_key=True, autoincrement=True),
    Column("stamp_id", ForeignKey("stamps.id"), nullable=False, index=True),
    Column("enabled", Boolean, nullable=False),
    Column("set_at", Moment, nullable=False),
    Column("actor_id", String, nullable=False),
)

cases = Table(
    "cases",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", String, nullable=False, unique=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("state", String, nullable=False),
    Column("opened_at", Moment, nullable=False),
    Index("ix_cases_tenant", "tenant_id", "opened_at", "id"),
    Index("ix_cases_opened", "opened_at", "id"),
)

case_events = Table(
    "case_events",
    metadata,
    Column("row", _RowNumber, primary_key=True, autoincrement=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("effective_at", Moment, nullable=False),
    Column("recorded_at", Moment, nullable=False),
)

assignments = Table(
    "assignments",
    metadata,
    Column("row", _RowNumber, primary_key=True, autoincrement=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("actor_id", ForeignKey("actors.id"), nullable=False),
    Column("assigned_at", Moment, nullable=False),
    Column("unassigned_at", Moment),
    Index("ix_assignments_case", "case_id", "actor_id"),
    Index("ix_assignments_actor", "actor_id", "case_id"),
)

# The binding of everything that lets somebody read a case: one row a case, written by every act that changes it.
case_access = Table(
    "case_access",
    metadata,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("as_of", Moment, nullable=False),
    Column("entry_id", String, nullable=False),
    Column("tag", String, nullable=False),
)

# One row: these records are bound. Its absence is believed only if the log agrees.
binding = Table(
    "binding",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("bound_at", Moment, nullable=False),
    Column("tag", String, nullable=False),
)

portal_sessions = Table(
    "portal_sessions",
    metadata,
    Column("id", String, primary_key=True),
    Column("secret_digest", String, nullable=False, unique=True),
    Column("actor_id", ForeignKey("actors.id"), nullable=False, index=True),
    # What the issuer's token said; `sealed` under a key that only the browser's cookie gives.
    Column("roles", Text, nullable=False),
    Column("directory", String),
    Column("partner", String),
    Column("issuer_session", String),
    Column("sealed", LargeBinary),
    Column("started_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("renew_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False, index=True),
    Column("tag", String, nullable=False),
)

upload_links = Table(
    "upload_links",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("stamp_id", ForeignKey("stamps.id"), nullable=False, index=True),
    Column("case_id", ForeignKey("cases.id"), index=True),
    Column("permissions", String, nullable=False),
    Column("addresses", String),
    # What a blob's metadata may leave out.
    Column("type", String, nullable=False),
    Column("trigger", String),
    Column("roles", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", String, nullable=False),
    Column("starts_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("revoked_at", Moment),
)

bundles = Table(
    "bundles",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("stamp_id", ForeignKey("stamps.id"), nullable=False),
    Column("case_id", ForeignKey("cases.id")),
    Column("uploader_id", String, nullable=False),
    Column("state", String, nullable=False),
    # The collection, as declared.
    Column("type", String, nullable=False),
    Column("send_logs_now", Boolean, nullable=False),
    Column("logs_start", Moment, nullable=False),
    Column("logs_end", Moment, nullable=False),
    Column("time_collected", Moment, nullable=False),
    Column("trigger", String),
    Column("roles", Text, nullable=False),
    Column("file_name", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("announced_sha256", String),
    # The upload.
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("writer", String),
    # The length is not declared yet; `size` is 0 until then (tus: Upload-Defer-Length).
    Column("deferred", Boolean, nullable=False, server_default=false()),
    # Not a bundle, but bytes for one: the collection's columns mean nothing (tus: Upload-Concat).
    Column("partial", Boolean, nullable=False, server_default=false()),
    # Upload-Metadata as its sender gave it (tus); goes with the data.
    Column("upload_metadata", Text),
    # The blob, when it came through an upload link; both texts are the sender's and go with the data.
    Column("link_id", String),
    Column("blob_name", BlobName),
    Column("blob_facts", Text),
    # Custody.
    Column("received_at", Moment),
    Column("manifest", String),
    Column("sha256", String),
    Column("verified_at", Moment),
    # When all of it was last read back: null until it was first complete.
    Column("checked_at", Moment),
    Column("cap_at", Moment),
    Column("due_at", Moment),
    Column("erased_at", Moment),
    Column("erased_cause", String),
    # Until when the same file, erased on demand, is refused; a keyed hash identifies it (`custody.resending`).
    Column("resend_mark", String),
    Column("resend_until", Moment),
    # The clock's failed work on it: how often in a row, the last reason, and when it is tried again.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("failure", String),
    Column("next_try_at", Moment),
    # Until when its reader holds the read-back claim (`custody.uploads.read_back_claim`).
    Column("claimed_until", Moment),
    # The sealed contents index that is kept; when the clock tries to make it (null: it has, or there will be none), and
    # how often it did (`custody.contents_index`).
    Column("index_id", String),
    Column("index_next_at", Moment),
    Column("index_tries", Integer, nullable=False, server_default=text("0")),
    Column("tag", String),
    # The lists (records/bundle_list.py): each begins with what the caller sees, or asks for, and has the list's order.
    Index("ix_bundles_case", "case_id", "time_collected", "id"),
    Index("ix_bundles_tenant", "tenant_id", "time_collected", "id"),
    Index("ix_bundles_tenant_type", "tenant_id", "type", "time_collected", "id"),
    # Partial, of every row: of a whole one SQLite would make use in every search of the clock, and sort what it finds.
    partial_index("ix_bundles_tenant_state", "tenant_id", "state", "time_collected", "id", where=LISTED),
    partial_index("ix_bundles_state", "state", "time_collected", "id", where=LISTED),
    Index("ix_bundles_type", "type", "time_collected", "id"),
    partial_index("ix_bundles_tenant_unclaimed", "tenant_id", "time_collected", "id", where=UNCLAIMED),
    Index("ix_bundles_collected", "time_collected", "id"),
    Index("ix_bundles_stamp", "stamp_id", "time_collected", "id"),
    # One blob of a name at a time; the name is free again when the erasure of its bundle begins.
    partial_index("ux_bundles_blob", "link_id", "blob_name", where=NAMED, unique=True),
    # The clock's searches; each index holds only the rows that are waiting.
    partial_index("ix_bundles_due", "due_at", "id", where=WAITING),
    partial_index("ix_bundles_expiring", "expires_at", "id", where=UNCOMMITTED),
    partial_index("ix_bundles_partial", "expires_at", "id", where=UNUSED),
    partial_index("ix_bundles_erasing", "due_at", "id", where=ERASING),
    partial_index("ix_bundles_failing", "next_try_at", "id", where=FAILING),
    partial_index("ix_bundles_received", "received_at", "id", where=RECEIVED),
    partial_index("ix_bundles_checked", "checked_at", "id", where=SCRUBBED),
    partial_index("ix_bundles_resendable", "resend_mark", where=RESENDABLE),
    partial_index("ix_bundles_damaged", "id", where=DAMAGED),
    partial_index("ix_bundles_unindexed", "index_next_at", "id", where=UNINDEXED),
)

# A row a round of the scrubbing; the last one has no `ended_at` while it runs.
scrubs = Table(
    "scrubs",
    metadata,
    Column("row", _RowNumber, primary_key=True, autoincrement=True),
    Column("begun_at", Moment, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("checked", Integer, nullable=False),
    Column("damaged", Integer, nullable=False),
    Column("unjudged", Integer, nullable=False),
    Column("ended_at", Moment),
)

concatenations = Table(
    "concatenations",
    metadata,
    Column("final_id", ForeignKey("bundles.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("partial_id", ForeignKey("bundles.id"), nullable=False, unique=True),
)

parts = Table(
    "parts",
    metadata,
    Column("bundle_id", ForeignKey("bundles.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("part_id", String, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("digest", String, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("block_id", String),
    Column("framing", Integer, nullable=False, server_default="1"),
)

staged_blocks = Table(
    "staged_blocks",
    metadata,
    Column("bundle_id", ForeignKey("bundles.id"), primary_key=True),
    Column("block_id", String, primary_key=True),
    Column("part_id", String, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("digest", String, nullable=False),
    Column("staged_at", Moment, nullable=False),
    Column("framing", Integer, nullable=False, server_default="1"),
)

consents = Table(
    "consents",
    metadata,
    Column("id", String, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False, index=True),
    Column("partner", String, nullable=False),
    Column("whole_case", Boolean, nullable=False),
    Column("given_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("actor_id", String, nullable=False),
    Column("revoked_at", Moment),
    Index("ix_consents_partner", "partner", "case_id"),
)

consent_bundles = Table(
    "consent_bundles",
    metadata,
    Column("consent_id", ForeignKey("consents.id"), primary_key=True),
    Column("bundle_id", ForeignKey("bundles.id"), primary_key=True),
)

grants = Table(
    "grants",
    metadata,
    Column("id", String, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("actor_id", ForeignKey("actors.id"), nullable=False),
    Column("consent_id", ForeignKey("consents.id")),
    Column("reason", Text, nullable=False),
    Column("granted_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("end_cause", String),
    # When an auditor signed it off: an index of what `reviews` says.
    Column("signed_off_at", Moment),
    Index("ix_grants_case", "case_id", "granted_at", "id"),
    Index("ix_grants_given", "granted_at", "id"),
    Index("ix_grants_actor", "actor_id", "case_id", "expires_at"),
    partial_index("ix_grants_live", "case_id", "expires_at", where=NOT_ENDED),
    partial_index("ix_grants_consent", "consent_id", where=WITH_CONSENT),
    partial_index("ix_grants_to_review", "granted_at", "id", where=TO_REVIEW),
)

# What a customer chose about being asked: a row for the customer, and one for each case with a choice of its own.
# `entry_id` names the act that made the row as it is, here and in `approvals`.
approval_policies = Table(
    "approval_policies",
    metadata,
    Column("id", String, primary_key=True),  # of the tenant, or of the case
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("case_id", ForeignKey("cases.id")),
    Column("rule", String, nullable=False),
    Column("long_minutes", Integer, nullable=False),
    Column("set_at", Moment, nullable=False),
    Column("actor_id", String, nullable=False),
    Column("entry_id", String, nullable=False),
    Column("tag", String, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("actor_id", ForeignKey("actors.id"), nullable=False),
    Column("partner", String),  # of a partner's engineer
    Column("reason", Text, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("asked_at", Moment, nullable=False),
    Column("lapses_at", Moment, nullable=False),
    Column("state", String, nullable=False),
    Column("answered_at", Moment),
    Column("answered_by", String),
    Column("note", Text),
    Column("grant_id", ForeignKey("grants.id"), unique=True),
    Column("entry_id", String, nullable=False),
    Column("tag", String, nullable=False),
    Index("ix_approvals_case", "case_id", "asked_at", "id"),
    Index("ix_approvals_tenant", "tenant_id", "asked_at", "id"),
    Index("ix_approvals_actor", "actor_id", "asked_at", "id"),
    Index("ix_approvals_at", "asked_at", "id"),
    partial_index("ix_approvals_asked", "lapses_at", "id", where=ASKED),
)

# What auditors said of grants that are over; a row for each of which something was said, by the grant's id.
reviews = Table(
    "reviews",
    metadata,
    Column("id", ForeignKey("grants.id"), primary_key=True),
    Column("state", String, nullable=False),
    Column("reviewed_at", Moment, nullable=False),
    Column("actor_id", String, nullable=False),
    Column("note", Text),
    Column("entry_id", String, nullable=False),
    Column("tag", String, nullable=False),
)

erasures = Table(
    "erasures",
    metadata,
    Column("id", String, primary_key=True),
    Column("confirmation", String, nullable=False, unique=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("case_id", ForeignKey("cases.id")),
    Column("scope", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("on_demand", Boolean, nullable=False),
    Column("requested_at", Moment, nullable=False),
    Column("actor_id", String, nullable=False),
    # Until when files erased under it are refused if sent again; null where they are accepted at once.
    Column("resend_until", Moment),
    Column("proven_at", Moment),
    Index("ix_erasures_case", "case_id", "requested_at", "id"),
    Index("ix_erasures_tenant", "tenant_id", "requested_at", "id"),
    Index("ix_erasures_actor", "actor_id", "requested_at", "id"),
    Index("ix_erasures_requested", "requested_at", "id"),
    # The erase work list: on-demand goes ahead of scheduled work.
    partial_index("ix_erasures_pending", text("on_demand DESC"), "requested_at", "id", where=UNPROVEN),
)

erasure_bundles = Table(
    "erasure_bundles",
    metadata,
    Column("erasure_id", ForeignKey("erasures.id"), primary_key=True),
    Column("bundle_id", ForeignKey("bundles.id"), primary_key=True),
    Index("ix_erasure_bundles_bundle", "bundle_id"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("subject_id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("entry_id", String, nullable=False),
    Column("issued_at", Moment, nullable=False),
    # The body as a signed note; the clock signs.
    Column("note", Text),
    partial_index("ix_receipts_unsigned", "issued_at", where=UNSIGNED),
)

# Where notices go: to a customer's receiver, or an engineer's own. A removed one keeps no address.
notice_receivers = Table(
    "notice_receivers",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id")),
    Column("actor_id", ForeignKey("actors.id")),
    Column("way", String, nullable=False),
    Column("address", Text, nullable=False),
    Column("added_at", Moment, nullable=False),
    Column("added_by", String, nullable=False),
    Column("removed_at", Moment),
    Column("entry_id", String, nullable=False),
    Column("tag", String, nullable=False),
    # How sending to it went: failures in a row, the last one's code, the next try, and who is sending now.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("failure", String),
    Column("next_try_at", Moment),
    Column("claim", String),
    Column("claimed_until", Moment),
    Column("delivered_at", Moment),
    partial_index("ix_notice_receivers_tenant", "tenant_id", "added_at", "id", where=NOT_REMOVED),
    partial_index("ix_notice_receivers_actor", "actor_id", "added_at", "id", where=NOT_REMOVED),
)

# The outbox: a row for each receiver of each notice, sent in the order of the rows.
notices = Table(
    "notices",
    metadata,
    Column("row", _RowNumber, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("receiver_id", ForeignKey("notice_receivers.id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("about", String, nullable=False),
    Column("case_id", ForeignKey("cases.id")),
    Column("at", Moment, nullable=False),
    Column("entry_id", String, nullable=False),
    Column("state", String, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("failure", String),
    Column("ended_at", Moment),
    Column("tag", String, nullable=False),
    Index("ix_notices_about", "receiver_id", "kind", "about", "at"),
    Index("ix_notices_receiver", "receiver_id", "at", "id"),
    partial_index("ix_notices_waiting", "receiver_id", "row", "at", where=UNSENT),
    partial_index("ix_notices_ended", "ended_at", where=SENT_OR_NOT),
    partial_index("ix_notices_given_up", "id", where=GIVEN_UP),
)

trusted_time = Table(
    "trusted_time",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # The time that the clock's process was last sure of (`retention.domain.trusted_time`); one row.
    Column("sure_at", Moment, nullable=False),
    Column("gap_us", BigInteger, nullable=False),
    Column("settled_us", BigInteger, nullable=False),
)
