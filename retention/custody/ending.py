"""Ending grants and upload links: one way each, whatever the cause. What ended stays listed; nothing brings it back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from audit.entry import Action
from retention.actor import Actor
from retention.binding import Binding
from retention.custody.access import ending, restored
from retention.custody.context import about, about_case, entry
from retention.records.tables import cases, grants, upload_links
from retention.records.unit_of_work import Transaction


def bind_anew(
    tx: Transaction, binding: Binding, actor: Actor, case_ids: Iterable[str], now: datetime
) -> None:
    """Bind these cases as they stand at the end of this work, by an entry each: for records that have lost acts which
    the log knows. Those that were altered stay unbound."""
    known = tx.execute(select(cases).where(cases.c.id.in_(sorted(case_ids)))).all()
    for case in known:
        restored(tx, binding, case.id, now)
        tx.audit(entry(actor, Action.ACCESS_BOUND, now, **about_case(case)))


def end_grants(
    tx: Transaction,
    binding: Binding,
    actor: Actor,
    which: Any,
    cause: str,
    now: datetime,
    action: Action = Action.GRANT_ENDED,
) -> int:
    """End every live grant in `which`, an entry each; how many ended."""
    live = select(grants, cases.c.tenant_id).join_from(grants, cases)
    rows = tx.execute(live.where(which, grants.c.ended_at.is_(None), grants.c.expires_at > now)).all()
    for case_id in {row.case_id for row in rows}:
        ending(tx, binding, case_id, now)
    for row in rows:
        tx.change(update(grants).where(grants.c.id == row.id).values(ended_at=now, end_cause=cause))
        tx.audit(
            entry(
                actor,
                action,
                now,
                **about(row),
                subject=row.id,
                details={"cause": cause, "engineer": row.actor_id},
            )
        )
    return len(rows)


def end_links(tx: Transaction, actor: Actor, which: Any, cause: str, now: datetime) -> int:
    """Revoke every upload link in `which` that was not, an entry each; how many. What runs through one is stopped."""
    rows = tx.execute(select(upload_links).where(which, upload_links.c.revoked_at.is_(None))).all()
    for row in rows:
        tx.change(update(upload_links).where(upload_links.c.id == row.id).values(revoked_at=now))
        revoked = {"subject": row.id, "details": {"cause": cause, "engineer": row.created_by}}
        tx.audit(entry(actor, Action.UPLOAD_LINK_REVOKED, now, **about(row), **revoked))
    return len(rows)
