"""The cases and bundles that an actor is allowed to know of: one clause for lists and look-ups.

| role | cases | bundles |
|---|---|---|
| auditor, case system, clock | all | all |
| operator | the tenant's | the tenant's |
| stamp | none | its own |
| engineer | those assigned to | of those cases; unclaimed ones of a tenant with such a case |
| partner's engineer | those assigned to, under a live consent | of those cases, within the consent's scope |

A partner sees of a case what the consent is about: its state, the bundles in scope, their own assignment, grants and
consents; not who else works on it, nor the customer's upload links (`queries.sees_all_of`).

A partial upload (tus: concatenation) is not a bundle: only its stamp and that stamp's operator know of it, as an upload
to be continued.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, false, or_, select, true

from retention.domain.actor import Actor, Role
from retention.domain.case import CaseState
from retention.records.tables import assignments, bundles, cases, consent_bundles, consents
from retention.records.unit_of_work import Reads

SEE_ALL = (Role.AUDITOR, Role.CASE_SYSTEM, Role.CLOCK)


def visible_cases(actor: Actor, now: datetime) -> ColumnElement[bool]:
    """Build the WHERE clause on `cases`."""
    if actor.has(*SEE_ALL):
        return true()
    clauses: list[ColumnElement[bool]] = []
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        clauses.append(cases.c.tenant_id == actor.tenant)
    if actor.has(Role.SUPPORT_ENGINEER):
        clauses.append(cases.c.id.in_(assigned_cases(actor)))
    if actor.has(Role.PARTNER_ENGINEER) and actor.partner is not None:
        consented = select(consents.c.case_id).where(_live_consent(actor.partner, now))
        clauses.append(and_(cases.c.id.in_(assigned_cases(actor)), cases.c.id.in_(consented)))
    return or_(*clauses) if clauses else false()


def visible_bundles(actor: Actor, now: datetime) -> ColumnElement[bool]:
    """Build the WHERE clause on `bundles`, to check one that is found by something else."""
    return or_(false(), *_reasons(actor, now, assigned_cases(actor), _helped(actor)))


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason to see bundles, to search by. `by`: `all`, `tenant`, `stamp`, `cases`, or `unclaimed` (of one tenant);
    `of`: the tenant, the stamp, or the ids of the cases; `also` must hold besides."""

    by: str
    of: str | Sequence[str] | None = None
    also: ColumnElement[bool] | None = None


def reasons_to_see_bundles(reads: Reads, actor: Actor, now: datetime) -> list[Reason]:
    """List the reasons for which the actor sees bundles: a bundle is visible if any of them holds.

    Each is searched by its own index: an OR of them would be tried on every bundle there is. The actor's assignments
    are looked up first: whoever has none searches for nothing.
    """
    if actor.has(*SEE_ALL):
        return [Reason("all")]
    reasons = []
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        reasons.append(Reason("tenant", actor.tenant))
    if actor.has(Role.STAMP) and actor.stamp is not None:
        reasons.append(Reason("stamp", actor.stamp))
    if not actor.has(Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER):
        return reasons
    assigned = reads.execute(assigned_cases(actor)).scalars().all()
    if assigned and actor.has(Role.SUPPORT_ENGINEER):
        helped = reads.execute(_helped(actor).distinct()).scalars().all()
        reasons += [Reason("cases", assigned), *(Reason("unclaimed", tenant) for tenant in helped)]
    if assigned and actor.has(Role.PARTNER_ENGINEER) and actor.partner is not None:
        reasons.append(Reason("cases", assigned, _in_scope(actor.partner, now)))
    return reasons


def _reasons(
    actor: Actor, now: datetime, assigned: Select[tuple[str]], helped: Select[tuple[str]]
) -> list[ColumnElement[bool]]:
    if actor.has(*SEE_ALL):
        return [~bundles.c.partial]
    reasons = _sent(actor)
    if actor.has(Role.SUPPORT_ENGINEER):
        reasons.append(bundles.c.case_id.in_(assigned))
        reasons.append(and_(bundles.c.case_id.is_(None), bundles.c.tenant_id.in_(helped)))
    if actor.has(Role.PARTNER_ENGINEER) and actor.partner is not None:
        reasons.append(and_(bundles.c.case_id.in_(assigned), _in_scope(actor.partner, now)))
    return [and_(reason, ~bundles.c.partial) for reason in reasons]


def visible_uploads(actor: Actor, now: datetime) -> ColumnElement[bool]:
    """Build the WHERE clause on `bundles` for a caller who continues an upload: partial ones too."""
    return or_(visible_bundles(actor, now), and_(bundles.c.partial, or_(false(), *_sent(actor))))


def _sent(actor: Actor) -> list[ColumnElement[bool]]:
    reasons: list[ColumnElement[bool]] = []
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        reasons.append(bundles.c.tenant_id == actor.tenant)
    if actor.has(Role.STAMP) and actor.stamp is not None:
        reasons.append(bundles.c.stamp_id == actor.stamp)
    return reasons


def assigned_cases(actor: Actor) -> Select[tuple[str]]:
    """Build a subquery of the ids of the cases that the actor is assigned to."""
    return select(assignments.c.case_id).where(
        assignments.c.actor_id == actor.id, assignments.c.unassigned_at.is_(None)
    )


def _helped(actor: Actor) -> Select[tuple[str]]:
    """Build a subquery of the tenants of the open cases that the actor is assigned to."""
    return select(cases.c.tenant_id).where(
        cases.c.id.in_(assigned_cases(actor)), cases.c.state == CaseState.OPEN
    )


def _live_consent(partner: str, now: datetime) -> ColumnElement[bool]:
    return and_(consents.c.partner == partner, consents.c.revoked_at.is_(None), consents.c.expires_at > now)


def _in_scope(partner: str, now: datetime) -> ColumnElement[bool]:
    """Build the condition of a live consent for the bundle's case that covers the whole case or names the bundle."""
    named = (
        select(consent_bundles.c.bundle_id)
        .where(consent_bundles.c.consent_id == consents.c.id, consent_bundles.c.bundle_id == bundles.c.id)
        .correlate(consents, bundles)  # two levels up: by default only the next one is correlated
        .exists()
    )
    return (
        select(consents.c.id)
        .where(
            consents.c.case_id == bundles.c.case_id,
            _live_consent(partner, now),
            or_(consents.c.whole_case, named),
        )
        .correlate(bundles)
        .exists()
    )
