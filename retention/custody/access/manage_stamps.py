"""Tenants and stamps: the senders of bundles.

Rules:
- The service's administrator registers tenants; a tenant's operator registers and deregisters its stamps.
- Each customer registers an identity once; another customer's registration of it is neither in the way nor revealed.
- A deregistered stamp can no longer upload; its bundles stay, on their own deadlines.
- Proactive collection needs the operator's consent, stamp by stamp, with history. Revoking it stops new proactive
  uploads and leaves earlier bundles alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, false, insert, select, update
from sqlalchemy.exc import IntegrityError

from audit.entry import Action
from retention.custody.context import (
    Custody,
    Refusal,
    commit,
    entry,
    lacks_role,
    not_operator_of,
    refuse,
    shown_again,
    unseen,
)
from retention.domain.actor import Actor, Role
from retention.domain.faults import Conflict, Invalid
from retention.domain.ids import Kind, new_id, one_spelling
from retention.domain.row_tag import STAMP, TENANT
from retention.records.queries import Page, fetch_page
from retention.records.tables import proactive_consents, stamps, tenants
from retention.records.unit_of_work import Transaction


def register_tenant(custody: Custody, actor: Actor, name: str, directory: str) -> Row[Any]:
    """Register a customer, known to the issuer as `directory`. Role: administrator."""
    now = custody.clock.now()
    id_, directory = new_id(Kind.TENANT), one_spelling(directory)

    def work(tx: Transaction) -> Row[Any] | Refusal:
        if denied := lacks_role(actor, Role.ADMINISTRATOR):
            return refuse(tx, actor, Action.TENANT_REGISTERED, now, denied)
        row = {"id": id_, "name": name, "directory": directory, "registered_at": now}
        row["tag"] = custody.binding.tag_row(TENANT, row)
        _insert(tx, insert(tenants).values(row), f"the directory {directory!r} is registered already")
        tx.audit(
            entry(
                actor,
                Action.TENANT_REGISTERED,
                now,
                tenant=id_,
                particulars={"tenant": name, "directory": directory},
            )
        )
        return tx.execute(select(tenants).where(tenants.c.id == id_)).one()

    return commit(custody, work)


def list_tenants(custody: Custody, actor: Actor, cursor: str | None, limit: int) -> Page[Row[Any]]:
    """List the tenants: all for the service's own people, their own for operators."""
    statement = select(tenants)
    if not actor.has(Role.ADMINISTRATOR, Role.CASE_SYSTEM, Role.AUDITOR):
        statement = statement.where(false() if actor.tenant is None else tenants.c.id == actor.tenant)
    with custody.records.read() as reads:
        return fetch_page(reads, statement, tenants.c.registered_at, tenants.c.id, cursor, limit)


def register_stamp(
    custody: Custody, actor: Actor, name: str, subject: str, *, proactive: bool = False
) -> Row[Any]:
    """Register a stamp of the operator's tenant; `subject` is the stamp's own identity at the issuer."""
    now = custody.clock.now()
    id_, subject = new_id(Kind.STAMP), one_spelling(subject)

    def work(tx: Transaction) -> Row[Any] | Refusal:
        if denied := lacks_role(actor, Role.OPERATOR):
            return refuse(tx, actor, Action.STAMP_REGISTERED, now, denied, tenant=actor.tenant)
        if actor.tenant is None:  # no token makes such an operator (`people`)
            raise Invalid("your token names no registered customer, so you cannot register a stamp for one")
        row = {
            "id": id_,
            "tenant_id": actor.tenant,
            "name": name,
            "subject": subject,
            "proactive": proactive,
            "registered_at": now,
        }
        row["tag"] = custody.binding.tag_row(STAMP, row)
        _insert(
            tx,
            insert(stamps).values(row),
            f"you have registered a stamp with the identity {subject!r} already; deregister it first",
        )
        record_proactive(tx, actor.id, id_, proactive, now)
        tx.audit(
            entry(
                actor,
                Action.STAMP_REGISTERED,
                now,
                tenant=actor.tenant,
                subject=id_,
                details={"proactive": "on" if proactive else "off"},
                particulars={"stamp": name, "identity": subject},
            )
        )
        return _stamp(tx, id_)

    return commit(custody, work)


def deregister_stamp(custody: Custody, actor: Actor, stamp_id: str) -> Row[Any]:
    """End a stamp's registration; repeating it changes nothing."""
    now = custody.clock.now()

    def work(tx: Transaction) -> tuple[Row[Any], bool] | Refusal:
        stamp = _own_stamp(tx, actor, stamp_id)
        if stamp is None:
            return unseen(tx, actor, Action.STAMP_DEREGISTERED, now, "stamp", stamp_id)
        if denied := not_operator_of(actor, stamp.tenant_id):
            return refuse(
                tx, actor, Action.STAMP_DEREGISTERED, now, denied, tenant=stamp.tenant_id, subject=stamp_id
            )
        if stamp.deregistered_at is None:
            mark_deregistered(tx, stamp_id, now)
            tx.audit(entry(actor, Action.STAMP_DEREGISTERED, now, tenant=stamp.tenant_id, subject=stamp_id))
        return _stamp(tx, stamp_id), stamp.deregistered_at is None

    stamp, ended = commit(custody, work)
    if not ended:
        shown_again(custody, actor, "stamp", stamp_id, {"tenant": stamp.tenant_id, "case": None})
    return stamp


def set_proactive(custody: Custody, actor: Actor, stamp_id: str, enabled: bool) -> Row[Any]:
    """Give or revoke the consent to proactive collection from a stamp."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Refusal:
        stamp = _own_stamp(tx, actor, stamp_id)
        if stamp is None:
            return unseen(tx, actor, Action.PROACTIVE_CONSENT_SET, now, "stamp", stamp_id)
        if denied := not_operator_of(actor, stamp.tenant_id):
            return refuse(
                tx, actor, Action.PROACTIVE_CONSENT_SET, now, denied, tenant=stamp.tenant_id, subject=stamp_id
            )
        if stamp.deregistered_at is not None:
            raise Conflict(
                f"stamp {stamp_id} is deregistered, so its consent cannot be changed",
                reason="stamp-deregistered",
            )
        record_proactive(tx, actor.id, stamp_id, enabled, now)
        state = "on" if enabled else "off"
        tx.audit(
            entry(
                actor,
                Action.PROACTIVE_CONSENT_SET,
                now,
                tenant=stamp.tenant_id,
                subject=stamp_id,
                details={"proactive": state},
            )
        )
        return _stamp(tx, stamp_id)

    return commit(custody, work)


def proactive_history(custody: Custody, actor: Actor, stamp_id: str) -> Sequence[Row[Any]]:
    """List every setting of the consent to proactive collection, newest first."""
    get_stamp(custody, actor, stamp_id)
    with custody.records.read() as reads:
        statement = select(proactive_consents).where(proactive_consents.c.stamp_id == stamp_id)
        return reads.execute(statement.order_by(proactive_consents.c.row.desc())).all()


def get_stamp(custody: Custody, actor: Actor, stamp_id: str) -> Row[Any]:
    """Return one stamp; NotFound if it is another tenant's."""
    now = custody.clock.now()
    with custody.records.read() as reads:
        found = reads.execute(select(stamps).where(stamps.c.id == stamp_id, *_visible(actor))).first()
    if found is None:
        return commit(custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "stamp", stamp_id))
    return found


def list_stamps(custody: Custody, actor: Actor, cursor: str | None, limit: int) -> Page[Row[Any]]:
    """List the stamps that the actor is allowed to see, newest first."""
    with custody.records.read() as reads:
        statement = select(stamps).where(*_visible(actor))
        return fetch_page(reads, statement, stamps.c.registered_at, stamps.c.id, cursor, limit)


def _visible(actor: Actor) -> list[Any]:
    if actor.has(Role.ADMINISTRATOR, Role.CASE_SYSTEM, Role.AUDITOR):
        return []
    if actor.has(Role.OPERATOR):
        return [false() if actor.tenant is None else stamps.c.tenant_id == actor.tenant]
    return [false() if actor.stamp is None else stamps.c.id == actor.stamp]


def _own_stamp(tx: Transaction, actor: Actor, stamp_id: str) -> Row[Any] | None:
    return tx.execute(select(stamps).where(stamps.c.id == stamp_id, *_visible(actor))).first()


def _stamp(tx: Transaction, stamp_id: str) -> Row[Any]:
    return tx.execute(select(stamps).where(stamps.c.id == stamp_id)).one()


def mark_deregistered(tx: Transaction, stamp_id: str, at: datetime) -> int:
    """Record the end of a stamp's registration; return how many were live."""
    live = stamps.c.id == stamp_id, stamps.c.deregistered_at.is_(None)
    return tx.change(update(stamps).where(*live).values(deregistered_at=at))


def record_proactive(tx: Transaction, actor_id: str, stamp_id: str, enabled: bool, at: datetime) -> None:
    """Record the consent to proactive collection, for the stamp and in its history."""
    tx.change(update(stamps).where(stamps.c.id == stamp_id).values(proactive=enabled))
    row = {"stamp_id": stamp_id, "enabled": enabled, "set_at": at, "actor_id": actor_id}
    tx.change(insert(proactive_consents).values(row))


def _insert(tx: Transaction, statement: Any, taken: str) -> None:
    try:
        tx.change(statement)
    except IntegrityError:
        raise Conflict(taken, reason="exists") from None
