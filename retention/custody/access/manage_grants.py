"""Grants in the records (P2): given, listed, ended. The rules are in `retention.domain.grants`.

- Engineers grant access to themselves; nobody grants it to another. They release a grant; the operator revokes it.
- Where the customer wants to be asked (`retention.domain.approval`), the same call asks, and gives nothing: `Asked`.
  The answer makes the grant (`manage_approvals`).
- Grants and upload links each end in one way, whatever the cause. They stay listed; nothing brings them back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Row, insert, or_, select, true, update

from audit.entry import Action
from audit.times import rfc3339
from retention.custody.access.approval_policies import policy_for
from retention.custody.access.bound_access import changing, ending, no_access, restored
from retention.custody.context import (
    Custody,
    Refusal,
    about,
    about_case,
    commit,
    entry,
    not_operator_of,
    refuse,
    shown_again,
    unseen,
)
from retention.domain.actor import Actor, Role
from retention.domain.approval import WAITS, State
from retention.domain.faults import Conflict
from retention.domain.grants import NOT_ASSIGNED, PARTNERS_NEED, Consent, Denied, decide_grant
from retention.domain.ids import Kind, new_id
from retention.domain.row_tag import APPROVAL, Binding
from retention.records.queries import Page, fetch_page
from retention.records.tables import actors, approvals, cases, grants, upload_links
from retention.records.unit_of_work import Transaction


def bind_anew(
    tx: Transaction, binding: Binding, actor: Actor, case_ids: Iterable[str], now: datetime
) -> None:
    """Bind these cases as they stand at the end of this work, with an entry each, in records that lack acts of the log.
    Altered cases stay unbound."""
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
    """End every live grant in `which`, with an entry each; return how many ended."""
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
    """Revoke every live upload link in `which`, with an entry each; return how many. Uploads through them stop."""
    rows = tx.execute(select(upload_links).where(which, upload_links.c.revoked_at.is_(None))).all()
    for row in rows:
        tx.change(update(upload_links).where(upload_links.c.id == row.id).values(revoked_at=now))
        revoked = {"subject": row.id, "details": {"cause": cause, "engineer": row.created_by}}
        tx.audit(entry(actor, Action.UPLOAD_LINK_REVOKED, now, **about(row), **revoked))
    return len(rows)


@dataclass(frozen=True, slots=True)
class Asked:
    """A grant that waits for the customer's approval, by the id of the request."""

    approval: str


def give_grant(
    custody: Custody, actor: Actor, number: str, reason: str, duration: timedelta
) -> Row[Any] | Asked:
    """Grant oneself read-only access to a case for `duration`, with a reason; or ask the customer, if they want that.

    Conflict if a request of this engineer waits for this case already.
    """
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Asked | Refusal:
        # Looked up without the visibility clause: an engineer who is not assigned is told just that, and by the same
        # steps also if there is no such case: they are not to learn which numbers exist.
        case = tx.execute(select(cases).where(cases.c.number == number)).first()
        access = None
        if case is not None and actor.has(Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER):
            access = changing(tx, custody.binding, case.id, now)
        facts = no_access(tx) if access is None else access.facts(actor)
        if not actor.has(Role.SUPPORT_ENGINEER) and not (actor.has(Role.PARTNER_ENGINEER) and facts.assigned):
            advice = f"; {PARTNERS_NEED}" if actor.has(Role.PARTNER_ENGINEER) else ""
            return unseen(tx, actor, Action.GRANT_GIVEN, now, "case", number, advice)
        decided = decide_grant(actor, facts, reason, duration, now)
        if case is None or access is None or isinstance(decided, Denied):
            denied = decided if isinstance(decided, Denied) else NOT_ASSIGNED
            tenant, id_of_case = (None, None) if case is None else (case.tenant_id, case.id)
            return refuse(tx, actor, Action.GRANT_GIVEN, now, denied, tenant=tenant, case=id_of_case)
        until, consent = decided
        if policy_for(tx, custody.binding, case).policy.needs_approval(actor, access.owner, duration):
            return _ask(tx, custody.binding, actor, case, reason.strip(), duration, now)
        access.check_outlasted(until)
        id_ = record_grant(tx, case.id, actor.id, consent, reason.strip(), now, until)
        tx.audit(
            entry(
                actor,
                Action.GRANT_GIVEN,
                now,
                **about_case(case),
                subject=id_,
                details={"expires_at": rfc3339(until), **({"consent": consent.id} if consent else {})},
                particulars={"reason": reason.strip(), "case_number": number},
            )
        )
        return _grant(tx, id_)

    return cast("Row[Any] | Asked", commit(custody, work))


def record_grant(
    tx: Transaction,
    case_id: str,
    actor_id: str,
    consent: Consent | None,
    reason: str,
    now: datetime,
    until: datetime,
) -> str:
    """Write the row of a new grant; return its id. The caller writes the entry."""
    id_ = new_id(Kind.GRANT)
    row = {
        "id": id_,
        "case_id": case_id,
        "actor_id": actor_id,
        "consent_id": consent.id if consent else None,
        "reason": reason,
        "granted_at": now,
        "expires_at": until,
    }
    tx.change(insert(grants).values(row))
    return id_


def _ask(
    tx: Transaction,
    binding: Binding,
    actor: Actor,
    case: Row[Any],
    reason: str,
    duration: timedelta,
    now: datetime,
) -> Asked:
    own = approvals.c.case_id == case.id, approvals.c.actor_id == actor.id
    waits = approvals.c.state == State.ASKED, approvals.c.lapses_at > now
    held = tx.execute(select(approvals).where(*own, *waits)).first()
    if held is not None:
        raise Conflict(
            f"your request {held.id} for case {case.number} waits until {rfc3339(held.lapses_at)}: withdraw it to ask "
            "otherwise",
            reason="asked-already",
            approval=held.id,
        )
    row = {
        "id": new_id(Kind.APPROVAL),
        **{"tenant_id": case.tenant_id, "case_id": case.id, "actor_id": actor.id},
        "partner": None if actor.has(Role.SUPPORT_ENGINEER) else actor.partner,
        "reason": reason,
        "duration_us": duration // timedelta(microseconds=1),
        "asked_at": now,
        "lapses_at": now + WAITS,
        "state": State.ASKED,
        "grant_id": None,
    }
    asked = entry(
        actor,
        Action.APPROVAL_ASKED,
        now,
        **about_case(case),
        subject=row["id"],
        details={"lapses_at": rfc3339(now + WAITS), "duration_seconds": -(-duration // timedelta(seconds=1))},
        particulars={"reason": reason, "case_number": case.number},
    )
    row["entry_id"] = asked.id
    tx.change(insert(approvals).values({**row, "tag": binding.tag_row(APPROVAL, row)}))
    tx.audit(asked)
    return Asked(row["id"])


def release_grant(custody: Custody, actor: Actor, grant_id: str) -> Row[Any]:
    """Give back one's own grant early; repeating it changes nothing."""
    return _end(custody, actor, grant_id, Action.GRANT_RELEASED, "released")


def revoke_grant(custody: Custody, actor: Actor, grant_id: str) -> Row[Any]:
    """Revoke a grant. Role: operator of the case's customer."""
    return _end(custody, actor, grant_id, Action.GRANT_REVOKED, "revoked")


def _end(custody: Custody, actor: Actor, grant_id: str, action: Action, cause: str) -> Row[Any]:
    now = custody.clock.now()

    def work(tx: Transaction) -> tuple[Row[Any], int] | Refusal:
        grant = tx.execute(_grants().where(grants.c.id == grant_id, _visible(actor))).first()
        if grant is None:
            return unseen(tx, actor, action, now, "grant", grant_id)
        denied = _may_end(actor, grant, action)
        if denied:
            return refuse(tx, actor, action, now, denied, **about(grant), subject=grant_id)
        ended = end_grants(tx, custody.binding, actor, grants.c.id == grant_id, cause, now, action)
        return _grant(tx, grant_id), ended

    grant, ended = commit(custody, work)
    if not ended:
        shown_again(custody, actor, "grant", grant_id, about(grant))
    return grant


def _may_end(actor: Actor, grant: Row[Any], action: Action) -> Denied | None:
    if action is Action.GRANT_REVOKED:
        return not_operator_of(actor, grant.tenant_id)
    return (
        None
        if grant.actor_id == actor.id
        else Denied(
            "not-your-grant",
            f"grant {grant.id} is another engineer's: only its holder can release it, and the operator revoke it",
        )
    )


def get_grant(custody: Custody, actor: Actor, grant_id: str) -> Row[Any]:
    """Return one grant, live or ended."""
    now = custody.clock.now()
    with custody.records.read() as reads:
        grant = reads.execute(_grants().where(grants.c.id == grant_id, _visible(actor))).first()
    if grant is None:
        return commit(custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "grant", grant_id))
    return grant


def list_grants(
    custody: Custody, actor: Actor, case: Row[Any], cursor: str | None, limit: int
) -> Page[Row[Any]]:
    """List the grants of a case, ended ones too, newest first."""
    with custody.records.read() as reads:
        statement = _grants().where(grants.c.case_id == case.id, _visible(actor))
        return fetch_page(reads, statement, grants.c.granted_at, grants.c.id, cursor, limit)


def _grants() -> Any:
    joined = select(grants, cases.c.tenant_id, cases.c.number, actors.c.subject, actors.c.name)
    return joined.join_from(grants, cases).join(actors, actors.c.id == grants.c.actor_id)


def _grant(tx: Transaction, grant_id: str) -> Row[Any]:
    row: Row[Any] = tx.execute(_grants().where(grants.c.id == grant_id)).one()
    return row


def _visible(actor: Actor) -> Any:
    """Make the condition for the grants an actor sees: engineers their own; the customer those to their cases; auditors
    and the case system all."""
    if actor.has(Role.AUDITOR, Role.CASE_SYSTEM):
        return true()
    own = grants.c.actor_id == actor.id
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        return or_(own, cases.c.tenant_id == actor.tenant)
    return own
