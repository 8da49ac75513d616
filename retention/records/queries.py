"""The queries that several verbs share; SQL only, no rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, select, update

from retention.actor import Actor
from retention.bundle import BundleState
from retention.case import CaseEvent, CaseEventKind
from retention.deadline import BundleHistory, due
from retention.envelope.manifest import PartEntry
from retention.grants import Consent, Grant
from retention.records.tables import (
    assignments,
    bundles,
    case_events,
    cases,
    consent_bundles,
    consents,
    grants,
    parts,
)
from retention.records.unit_of_work import Reads, Transaction
from retention.records.visibility import visible_bundles, visible_cases


def find_case(reads: Reads, actor: Actor, number: str, now: datetime) -> Row[Any] | None:
    """The case with this number, if the actor may see it."""
    return reads.execute(select(cases).where(cases.c.number == number, visible_cases(actor, now))).first()


def find_bundle(reads: Reads, actor: Actor, bundle_id: str, now: datetime) -> Row[Any] | None:
    """The bundle, if the actor may see it."""
    return reads.execute(
        select(bundles).where(bundles.c.id == bundle_id, visible_bundles(actor, now))
    ).first()


def case_history(reads: Reads, case_id: str) -> list[CaseEvent]:
    """A case's events in order."""
    rows = reads.execute(
        select(case_events).where(case_events.c.case_id == case_id).order_by(case_events.c.row)
    )
    return [CaseEvent(CaseEventKind(row.kind), row.effective_at, row.recorded_at) for row in rows]


def is_assigned(reads: Reads, case_id: str, actor_id: str) -> bool:
    """True while the actor is assigned to the case."""
    live = and_(
        assignments.c.case_id == case_id,
        assignments.c.actor_id == actor_id,
        assignments.c.unassigned_at.is_(None),
    )
    return reads.execute(select(assignments.c.row).where(live)).first() is not None


def bundle_history(reads: Reads, bundle: Row[Any]) -> BundleHistory:
    """All that the bundle's deadline depends on."""
    case = case_history(reads, bundle.case_id) if bundle.case_id is not None else None
    return BundleHistory(bundle.received_at or bundle.created_at, case, bundle.cap_at)


def refresh_due(tx: Transaction, which: Any) -> None:
    """Write again what the pure rule says of the live bundles in `which`, after something it depends on changed."""
    over = (BundleState.ERASING, BundleState.ERASED)
    for bundle in tx.execute(select(bundles).where(which, bundles.c.state.not_in(over))).all():
        at, _reason = due(bundle_history(tx, bundle))
        tx.change(update(bundles).where(bundles.c.id == bundle.id).values(due_at=at))


def case_consents(reads: Reads, case_id: str) -> list[Consent]:
    """Every consent ever given for a case."""
    rows = reads.execute(select(consents).where(consents.c.case_id == case_id)).all()
    return [
        Consent(
            row.id,
            case_id,
            row.partner,
            None if row.whole_case else consent_scope(reads, row.id),
            row.expires_at,
            row.revoked_at,
        )
        for row in rows
    ]


def consent_scope(reads: Reads, consent_id: str) -> frozenset[str]:
    """The bundles that a consent names."""
    statement = select(consent_bundles.c.bundle_id).where(consent_bundles.c.consent_id == consent_id)
    return frozenset(reads.execute(statement).scalars())


def live_grants(reads: Reads, case_id: str, actor_id: str, now: datetime) -> list[Grant]:
    """The actor's grants for the case that have neither ended nor expired."""
    rows = reads.execute(
        select(grants).where(
            grants.c.actor_id == actor_id,
            grants.c.case_id == case_id,
            grants.c.expires_at > now,
            grants.c.ended_at.is_(None),
        )
    )
    return [
        Grant(row.id, row.case_id, row.actor_id, row.expires_at, row.ended_at, row.consent_id) for row in rows
    ]


def bundle_parts(reads: Reads, bundle_id: str) -> Sequence[PartEntry]:
    """The bundle's parts in order."""
    rows = reads.execute(select(parts).where(parts.c.bundle_id == bundle_id).order_by(parts.c.number))
    return [PartEntry(row.part_id, row.offset, row.length, bytes.fromhex(row.digest)) for row in rows]
