"""The rights of each role in the database (PostgreSQL), decided table by table and enforced by the server.

Three roles, made by docs/deploy/database.sql; nobody logs in as one of them:
  casevault        owns the schema: administrators, who bring it to a newer version
  casevault_api    serves callers: adds entries, changes no leaf, no tree, no checkpoint, no receipt's signature
  casevault_clock  the sequencer and the sweep: numbers leaves, keeps the tree, signs

Rules:
- A table without a decision here is only the owner's, and a test fails (`undecided`).
- Rights are granted anew, and all others revoked, whenever the schema is brought to a version: a column that a version
  adds has no rights until they are decided.
- Where the two roles do not exist (one role for everything, as on one machine) nothing is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, text

from audit.log.append import WRITTEN
from audit.log.tables import metadata as audit_tables
from retention.records.tables import metadata as record_tables

API, CLOCK = "casevault_api", "casevault_clock"
VERSION_TABLE = "alembic_version"


class Rights(NamedTuple):
    """Each role's rights on a table, in GRANT's words; with a column list where they do not cover all of it."""

    api: tuple[str, ...]
    clock: tuple[str, ...]


_READ = ("SELECT",)
_ADD = ("SELECT", "INSERT")
_ADD_AND_CHANGE = ("SELECT", "INSERT", "UPDATE")
_ENTRY = ", ".join(f'"{name}"' for name in WRITTEN)

RIGHTS: Mapping[str, Rights] = {
    # The log. Entries are added; nobody ever changes a leaf.
    "audit_entries": Rights(
        api=("SELECT", f"INSERT ({_ENTRY})", "UPDATE (particulars, salt, redacted_at)"),  # redaction
        clock=("SELECT", "INSERT", "UPDATE (leaf_index, particulars, salt, redacted_at)"),
    ),
    "audit_tree": Rights(api=_READ, clock=_ADD_AND_CHANGE),
    "audit_checkpoints": Rights(api=_READ, clock=_ADD),
    "receipts": Rights(
        api=("SELECT", "INSERT (subject_id, kind, body, entry_id, issued_at)"),
        clock=("SELECT", "INSERT", "UPDATE (note)"),
    ),
    # People, stamps and their access: one column ends each.
    "actors": Rights(
        api=("SELECT", "INSERT", "UPDATE (issuer, subject, name, tag)"),
        clock=(
            "SELECT",
            "UPDATE (issuer, subject, name, tag)",
        ),  # forgetting a person again after a restore
    ),
    # The clock binds records from before there was a key for it, once.
    "partners": Rights(api=_ADD, clock=("SELECT", "UPDATE (tag)")),
    "tenants": Rights(api=_ADD, clock=("SELECT", "UPDATE (tag)")),
    "stamps": Rights(
        api=("SELECT", "INSERT", "UPDATE (deregistered_at, proactive)"),
        clock=("SELECT", "UPDATE (deregistered_at, proactive, tag)"),
    ),
    "case_access": Rights(api=_ADD_AND_CHANGE, clock=_ADD_AND_CHANGE),
    "binding": Rights(api=_READ, clock=_ADD),
    # After a restore the clock repeats the acts that ended something (`retention.jobs.replay`).
    "proactive_consents": Rights(api=_ADD, clock=_ADD),
    "cases": Rights(api=("SELECT", "INSERT", "UPDATE (state)"), clock=("SELECT", "UPDATE (state)")),
    "case_events": Rights(api=_ADD, clock=_ADD),
    "assignments": Rights(
        api=("SELECT", "INSERT", "UPDATE (unassigned_at)"), clock=("SELECT", "UPDATE (unassigned_at)")
    ),
    "upload_links": Rights(
        api=("SELECT", "INSERT", "UPDATE (expires_at, revoked_at)"), clock=("SELECT", "UPDATE (revoked_at)")
    ),
    "portal_sessions": Rights(
        api=(
            *("SELECT", "INSERT", "DELETE"),
            "UPDATE (roles, directory, partner, sealed, seen_at, renew_at, issuer_session, tag)",
        ),
        clock=("SELECT", "DELETE"),  # forgetting a person again after a restore
    ),
    "consents": Rights(
        api=("SELECT", "INSERT", "UPDATE (revoked_at)"), clock=("SELECT", "UPDATE (revoked_at)")
    ),
    "consent_bundles": Rights(api=_ADD, clock=_READ),
    "approval_policies": Rights(api=_ADD_AND_CHANGE, clock=_ADD_AND_CHANGE),
    "approvals": Rights(
        api=(
            *("SELECT", "INSERT"),
            "UPDATE (reason, state, answered_at, answered_by, note, grant_id, entry_id, tag)",
        ),
        clock=(
            "SELECT",
            "UPDATE (reason, state, answered_at, answered_by, note, entry_id, tag)",
        ),  # the clock lapses them
    ),
    "grants": Rights(
        api=(
            "SELECT",
            "INSERT",
            "UPDATE (reason, ended_at, end_cause, signed_off_at)",
        ),  # a reason is redacted
        clock=(
            "SELECT",
            "UPDATE (reason, ended_at, end_cause, signed_off_at)",
        ),  # a restore ends them, an erasure too
    ),
    "reviews": Rights(api=_ADD_AND_CHANGE, clock=_ADD_AND_CHANGE),  # a restore repeats them
    # Bundles arrive through the one and go through the other; either may begin an erasure.
    "bundles": Rights(api=_ADD_AND_CHANGE, clock=("SELECT", "UPDATE")),
    "concatenations": Rights(api=_ADD, clock=_READ),
    "parts": Rights(api=("SELECT", "INSERT", "DELETE"), clock=("SELECT", "INSERT", "DELETE")),
    "staged_blocks": Rights(api=("SELECT", "INSERT", "UPDATE", "DELETE"), clock=("SELECT", "DELETE")),
    "erasures": Rights(
        api=("SELECT", "INSERT", "UPDATE (on_demand, proven_at, resend_until)"),
        clock=("SELECT", "INSERT", "UPDATE (on_demand, proven_at)"),
    ),
    "erasure_bundles": Rights(api=_ADD, clock=_ADD),
    # The API says where notices go, and the clock, after a restore or a redaction, where no longer; the clock sends.
    "notice_receivers": Rights(
        api=("SELECT", "INSERT", "UPDATE (address, removed_at, entry_id, tag)"),
        clock=(
            "SELECT",
            "UPDATE (address, removed_at, entry_id, tag, failures, failure, next_try_at, claim, claimed_until, "
            "delivered_at)",
        ),
    ),
    "notices": Rights(
        api=_ADD,
        clock=("SELECT", "INSERT", "UPDATE (state, tries, failure, ended_at)", "DELETE"),
    ),
    "scrubs": Rights(api=_READ, clock=_ADD_AND_CHANGE),
    "trusted_time": Rights(api=_READ, clock=_ADD_AND_CHANGE),
    VERSION_TABLE: Rights(api=_READ, clock=_READ),
}


def undecided() -> set[str]:
    """Find tables of the program without a decision, and decisions without a table."""
    tables = {VERSION_TABLE, *record_tables.tables, *audit_tables.tables}
    return tables ^ set(RIGHTS)


def give_rights(connection: Connection) -> None:
    """Grant both roles the rights decided here, and revoke all others; as the owner, in its transaction."""
    if connection.dialect.name != "postgresql" or not _has_roles(connection):
        return
    both = f"{API}, {CLOCK}"
    run = connection.exec_driver_sql
    run("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    run(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {both}, PUBLIC")
    run(f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {both}, PUBLIC")
    run(f"GRANT USAGE ON SCHEMA public TO {both}")
    run(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {both}")
    for table, rights in RIGHTS.items():
        for role, allowed in ((API, rights.api), (CLOCK, rights.clock)):
            run(f"GRANT {', '.join(allowed)} ON {table} TO {role}")


def _has_roles(connection: Connection) -> bool:
    found = text("SELECT count(*) FROM pg_roles WHERE rolname IN (:api, :clock)")
    return connection.execute(found, {"api": API, "clock": CLOCK}).scalar() == 2
