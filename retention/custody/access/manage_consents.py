"""Consents: the customer lets one partner see one case (P6).

- The customer's operator gives a consent, for all of a case or for named bundles of it, with an expiry.
- Revoking it ends the grants under it in the same transaction. It stays listed.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, insert, or_, select, update

from audit.entry import Action
from audit.times import rfc3339
from retention.custody.access.bound_access import changing, ending
from retention.custody.access.manage_grants import end_grants
from retention.custody.access.people import company_id
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
from retention.domain.faults import Invalid
from retention.domain.ids import Kind, new_id, one_spelling
from retention.records.queries import Page, consent_scope, fetch_page, find_case
from retention.records.tables import bundles, cases, consent_bundles, consents, grants
from retention.records.unit_of_work import Transaction


def give_consent(
    custody: Custody,
    actor: Actor,
    number: str,
    partner: str,
    expires_at: datetime,
    scope: Collection[str] | None,
) -> Row[Any]:
    """Let `partner` see a case, or only the bundles in `scope`. Role: operator."""
    now = custody.clock.now()
    id_, partner = new_id(Kind.CONSENT), one_spelling(partner)
    if not now < expires_at <= now + custody.limits.max_consent:
        days = custody.limits.max_consent.days
        raise Invalid(
            f"a consent cannot last until {rfc3339(expires_at)}",
            {"expires_at": f"must be in the future, at most {days} days from now"},
        )

    def work(tx: Transaction) -> Row[Any] | Refusal:
        case = find_case(tx, actor, number, now)
        if case is None:
            return unseen(tx, actor, Action.CONSENT_GIVEN, now, "case", number)
        if denied := not_operator_of(actor, case.tenant_id):
            return refuse(tx, actor, Action.CONSENT_GIVEN, now, denied, **about_case(case))
        _check_scope(tx, case.id, scope)
        changing(tx, custody.binding, case.id, now).check_outlasted(expires_at)
        named = None if scope is None else sorted(set(scope))
        row = {
            "id": id_,
            "case_id": case.id,
            "partner": partner,
            "whole_case": named is None,
            "given_at": now,
            "expires_at": expires_at,
            "actor_id": actor.id,
        }
        tx.change(insert(consents).values(row))
        if named:
            tx.change(insert(consent_bundles), [{"consent_id": id_, "bundle_id": one} for one in named])
        tx.audit(
            entry(
                actor,
                Action.CONSENT_GIVEN,
                now,
                **about_case(case),
                subject=id_,
                details={
                    "expires_at": rfc3339(expires_at),
                    "scope": "case" if named is None else named,
                    "partner": company_id(tx, custody, partner),
                },
                particulars={"partner": partner, "case_number": number},
            )
        )
        return _consent(tx, id_)

    return commit(custody, work)


def revoke_consent(custody: Custody, actor: Actor, consent_id: str) -> Row[Any]:
    """Revoke a consent; the grants under it end at once. Repeating it changes nothing."""
    now = custody.clock.now()

    def work(tx: Transaction) -> tuple[Row[Any], bool] | Refusal:
        consent = tx.execute(_consents(actor).where(consents.c.id == consent_id)).first()
        if consent is None:
            return unseen(tx, actor, Action.CONSENT_REVOKED, now, "consent", consent_id)
        if denied := not_operator_of(actor, consent.tenant_id):
            return refuse(tx, actor, Action.CONSENT_REVOKED, now, denied, **about(consent))
        if consent.revoked_at is None:
            ending(tx, custody.binding, consent.case_id, now)
            mark_revoked(tx, consent_id, now)
            tx.audit(entry(actor, Action.CONSENT_REVOKED, now, **about(consent), subject=consent_id))
            end_grants(tx, custody.binding, actor, grants.c.consent_id == consent_id, "consent-revoked", now)
        return _consent(tx, consent_id), consent.revoked_at is None

    consent, revoked = commit(custody, work)
    if not revoked:
        shown_again(custody, actor, "consent", consent_id, about(consent))
    return consent


def mark_revoked(tx: Transaction, consent_id: str, at: datetime) -> int:
    """Record that a live consent is revoked; return how many were. The caller writes the entry and ends its grants."""
    live = consents.c.id == consent_id, consents.c.revoked_at.is_(None)
    return tx.change(update(consents).where(*live).values(revoked_at=at))


def list_consents(
    custody: Custody, actor: Actor, case: Row[Any], cursor: str | None, limit: int
) -> Page[Row[Any]]:
    """List the consents of a case, revoked ones too, newest first."""
    with custody.records.read() as reads:
        statement = _consents(actor).where(consents.c.case_id == case.id)
        return fetch_page(reads, statement, consents.c.given_at, consents.c.id, cursor, limit)


def consented_bundles(custody: Custody, consent: Row[Any]) -> list[str] | None:
    """Return the bundles that a consent names; None if it is for all of the case."""
    if consent.whole_case:
        return None
    with custody.records.read() as reads:
        return sorted(consent_scope(reads, consent.id))


def _consents(actor: Actor) -> Any:
    joined = select(consents, cases.c.tenant_id, cases.c.number).join_from(consents, cases)
    if actor.has(Role.AUDITOR, Role.CASE_SYSTEM):
        return joined
    clauses = []
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        clauses.append(cases.c.tenant_id == actor.tenant)
    if actor.has(Role.PARTNER_ENGINEER) and actor.partner is not None:
        clauses.append(consents.c.partner == actor.partner)
    return joined.where(or_(*clauses)) if clauses else joined.where(consents.c.id.is_(None))


def _consent(tx: Transaction, consent_id: str) -> Row[Any]:
    joined = select(consents, cases.c.tenant_id, cases.c.number).join_from(consents, cases)
    return tx.execute(joined.where(consents.c.id == consent_id)).one()


def _check_scope(tx: Transaction, case_id: str, scope: Collection[str] | None) -> None:
    if scope is None:
        return
    held = and_(bundles.c.case_id == case_id, bundles.c.id.in_(list(scope)))
    known = set(tx.execute(select(bundles.c.id).where(held)).scalars())
    if not scope:
        raise Invalid("the scope names no bundle", {"bundles": "must name at least one bundle of this case"})
    if strange := sorted(set(scope) - known):
        raise Invalid(
            f"{len(strange)} of the {len(set(scope))} bundles named, such as {strange[0][:64]!r}, are not in this case",
            {"bundles": "must be bundles of this case"},
        )
