"""Grants: who may read, until when (P2). The rules are in `retention.grants`; here they meet the records.

Engineers grant themselves; nobody grants to another. The release is theirs, the revocation the operator's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Row, insert, or_, select, true

from audit.entry import Action
from audit.times import rfc3339
from retention.actor import Actor, Role
from retention.custody.access import changing, no_access
from retention.custody.context import (
    Custody,
    Turned,
    about,
    about_case,
    commit,
    entry,
    not_operator_of,
    refuse,
    shown_again,
    unseen,
)
from retention.custody.ending import end_grants
from retention.grants import NOT_ASSIGNED, PARTNERS_NEED, Denied, decide_grant
from retention.ids import Kind, new_id
from retention.records.pages import Page, fetch_page
from retention.records.tables import actors, cases, grants
from retention.records.unit_of_work import Transaction


def give_grant(custody: Custody, actor: Actor, number: str, reason: str, duration: timedelta) -> Row[Any]:
    """Grant oneself read-only access to a case for `duration`, with a reason."""
    now = custody.clock.now()
    id_ = new_id(Kind.GRANT)

    def work(tx: Transaction) -> Row[Any] | Turned:
        # Looked up without the visibility clause: an engineer who is not assigned is told just that. So they are where
        # there is no such case, by the same steps: which numbers there are is not theirs to know.
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
        access.check_outlasted(until)
        row = {
            "id": id_,
            "case_id": case.id,
            "actor_id": actor.id,
            "consent_id": consent.id if consent else None,
            "reason": reason.strip(),
            "granted_at": now,
            "expires_at": until,
        }
        tx.change(insert(grants).values(row))
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

    return commit(custody, work)


def release_grant(custody: Custody, actor: Actor, grant_id: str) -> Row[Any]:
    """Give one's own grant back early; repeating it changes nothing."""
    return _end(custody, actor, grant_id, Action.GRANT_RELEASED, "released")


def revoke_grant(custody: Custody, actor: Actor, grant_id: str) -> Row[Any]:
    """Take a grant away. Role: operator of the customer whose case it is."""
    return _end(custody, actor, grant_id, Action.GRANT_REVOKED, "revoked")


def _end(custody: Custody, actor: Actor, grant_id: str, action: Action, cause: str) -> Row[Any]:
    now = custody.clock.now()

    def work(tx: Transaction) -> tuple[Row[Any], int] | Turned:
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
        else Denied("not-your-grant", "only its holder can release a grant")
    )


def get_grant(custody: Custody, actor: Actor, grant_id: str) -> Row[Any]:
    """One grant, live or ended."""
    now = custody.clock.now()
    with custody.records.read() as reads:
        grant = reads.execute(_grants().where(grants.c.id == grant_id, _visible(actor))).first()
    if grant is None:
        return commit(custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "grant", grant_id))
    return grant


def list_grants(
    custody: Custody, actor: Actor, case: Row[Any], cursor: str | None, limit: int
) -> Page[Row[Any]]:
    """The grants of a case, ended ones too, newest first."""
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
    """Engineers see their own; the customer those to their cases; auditors and the case system all."""
    if actor.has(Role.AUDITOR, Role.CASE_SYSTEM):
        return true()
    own = grants.c.actor_id == actor.id
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        return or_(own, cases.c.tenant_id == actor.tenant)
    return own
