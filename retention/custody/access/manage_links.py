"""Upload links: issued, listed, renewed, revoked, and looked up for use.

Rules:
- A tenant's operator issues links for its stamps and cases, an engineer for a case that they are assigned to (the
  customer sends through it), a stamp for itself. Anybody who can issue a link can revoke it.
- A link that expires in mid-upload strands the bytes sent, because another link is another container. So anybody who
  can issue a link can renew it, expired or not, within the limits of a new one; an engineer only their own, since those
  end with their assignment. A revoked link cannot be renewed.
- A case's link names the stamp that sends; it can be left out while the customer has only one.
- Issuing, renewing and revoking are entries here; use and refusal are the door's (`note_use`, `note_refusal`).
- An engineer's link ends with their assignment to its case. A partner sees no links (P6).
- The key that signs links is not kept here (`retention.keys.signing`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, false, insert, or_, select, update

from audit.entry import Action
from audit.times import rfc3339
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
from retention.domain.bundle import CollectionType
from retention.domain.deadline import case_deadline
from retention.domain.faults import Invalid
from retention.domain.grants import Denied
from retention.domain.ids import Kind, new_id
from retention.domain.upload_link import LinkFacts, LinkTerms, check_renewal, check_terms
from retention.records.queries import Page, case_history, fetch_page, find_case, is_assigned, sees_all_of
from retention.records.tables import cases, stamps, upload_links
from retention.records.unit_of_work import Reads, Transaction

_NO_PARTNERS = Denied("role-missing", "a consent lets a partner see bundles, not the customer's upload links")


@dataclass(frozen=True, slots=True)
class UploadLink:
    """A link as the door uses it: its record, its stamp's, and the facts that its use depends on."""

    row: Row[Any]
    stamp: Row[Any]
    facts: LinkFacts

    def actor(self, address: str, request_id: str) -> Actor:
        """Return the actor of a request through the link."""
        return Actor(
            id=self.row.id,
            roles=frozenset({Role.UPLOAD_LINK}),
            tenant=self.row.tenant_id,
            stamp=self.row.stamp_id,
            particulars={"ip": address, "request_id": request_id},
        )


def create_stamp_link(custody: Custody, actor: Actor, stamp_id: str, terms: LinkTerms) -> Row[Any]:
    """Issue a link for a stamp's own collections."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Refusal:
        stamp = _visible_stamp(tx, actor, stamp_id)
        if stamp is None:
            return unseen(tx, actor, Action.UPLOAD_LINK_CREATED, now, "stamp", stamp_id)
        if denied := _not_for_stamp(actor, stamp.tenant_id, stamp.id):
            return refuse(tx, actor, Action.UPLOAD_LINK_CREATED, now, denied, tenant=stamp.tenant_id)
        _check_trigger(custody, terms)
        check_terms(terms, now, None)
        return _issue(tx, actor, stamp, None, terms, now)

    return commit(custody, work)


def create_case_link(
    custody: Custody, actor: Actor, number: str, stamp_id: str | None, terms: LinkTerms
) -> Row[Any]:
    """Issue a link for a case; `stamp_id` is the stamp that sends, by default the customer's only one."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Refusal:
        case = find_case(tx, actor, number, now)
        if case is None:
            return unseen(tx, actor, Action.UPLOAD_LINK_CREATED, now, "case", number)
        if denied := _not_for_case(tx, actor, case.tenant_id, case.id):
            return refuse(tx, actor, Action.UPLOAD_LINK_CREATED, now, denied, **about_case(case))
        stamp = _sender(tx, case.tenant_id, stamp_id)
        _check_trigger(custody, terms)
        check_terms(terms, now, case_deadline(case_history(tx, case.id)))
        return _issue(tx, actor, stamp, case.id, terms, now)

    return commit(custody, work)


def _sender(tx: Transaction, tenant: str, stamp_id: str | None) -> Row[Any]:
    own = [stamps.c.tenant_id == tenant, stamps.c.deregistered_at.is_(None)]
    own += [stamps.c.id == stamp_id] if stamp_id is not None else []
    found = tx.execute(select(stamps).where(*own).limit(2)).all()
    if len(found) == 1:
        return found[0]
    if stamp_id is not None:
        what = "is not a registered stamp of this customer"
        raise Invalid(f"{stamp_id[:64]!r} {what}", {"stamp": what})
    count = "several registered stamps" if found else "no registered stamp"
    raise Invalid(
        f"no stamp is given, and this customer has {count}", {"stamp": "must name the stamp that sends"}
    )


def _check_trigger(custody: Custody, terms: LinkTerms) -> None:
    proactive = terms.type is CollectionType.PROACTIVE
    if proactive != (terms.trigger is not None):
        what = (
            "is missing: type proactive needs one" if proactive else f"needs type proactive, not {terms.type}"
        )
        raise Invalid(f"this link cannot be issued: trigger {what}", {"trigger": what})
    if terms.trigger is not None and not custody.triggers.knows(terms.trigger):
        what = f"{terms.trigger[:64]!r} is not a known FaultIdType"
        raise Invalid(f"this link cannot be issued: trigger {what}", {"trigger": what})


def _issue(
    tx: Transaction, actor: Actor, stamp: Row[Any], case_id: str | None, terms: LinkTerms, now: datetime
) -> Row[Any]:
    id_ = new_id(Kind.UPLOAD_LINK)
    row = {
        "id": id_,
        "tenant_id": stamp.tenant_id,
        "stamp_id": stamp.id,
        "case_id": case_id,
        "permissions": terms.permissions,
        "addresses": terms.addresses,
        "type": terms.type,
        "trigger": terms.trigger,
        "roles": json.dumps(list(terms.roles)),
        "created_at": now,
        "created_by": actor.id,
        # Whole seconds: a signature's times have no smaller ones, and both must agree.
        "starts_at": (terms.starts_at or now).replace(microsecond=0),
        "expires_at": terms.expires_at.replace(microsecond=0),
    }
    tx.change(insert(upload_links).values(row))
    details = {
        "permissions": terms.permissions,
        "expires_at": rfc3339(row["expires_at"]),
        "stamp": str(stamp.id),
    }
    particulars = {"addresses": terms.addresses} if terms.addresses else None
    tx.audit(
        entry(
            actor,
            Action.UPLOAD_LINK_CREATED,
            now,
            tenant=stamp.tenant_id,
            case=case_id,
            subject=id_,
            details=details,
            particulars=particulars,
        )
    )
    return tx.execute(_with_case().where(upload_links.c.id == id_)).one()


def list_stamp_links(
    custody: Custody, actor: Actor, stamp_id: str, cursor: str | None, limit: int
) -> Page[Row[Any]]:
    """List a stamp's links, newest first. NotFound if the actor is not allowed to know of the stamp."""
    now = custody.clock.now()
    with custody.records.read() as reads:
        stamp = _visible_stamp(reads, actor, stamp_id)
        if stamp is not None:
            return _page(reads, upload_links.c.stamp_id == stamp_id, cursor, limit)
    return commit(custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "stamp", stamp_id))


def list_case_links(
    custody: Custody, actor: Actor, number: str, cursor: str | None, limit: int
) -> Page[Row[Any]]:
    """List a case's links, newest first. NotFound if the actor is not allowed to know of the case."""
    now = custody.clock.now()
    with custody.records.read() as reads:
        case = find_case(reads, actor, number, now)
        if case is not None and sees_all_of(reads, actor, case):
            return _page(reads, upload_links.c.case_id == case.id, cursor, limit)
    if case is not None:
        return commit(
            custody,
            lambda tx: refuse(tx, actor, Action.CALLER_REFUSED, now, _NO_PARTNERS, **about_case(case)),
        )
    return commit(custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "case", number))


def renew_link(custody: Custody, actor: Actor, link_id: str, expires_at: datetime) -> Row[Any]:
    """Renew a link until `expires_at`; the bytes sent through it stay where they are."""
    now, until = custody.clock.now(), expires_at.replace(microsecond=0)

    def work(tx: Transaction) -> Row[Any] | Refusal:
        shown = _shown(tx, actor, link_id, now)
        if shown is None:
            return unseen(tx, actor, Action.UPLOAD_LINK_RENEWED, now, "upload link", link_id)
        if denied := _not_issuer(tx, actor, shown) or _not_own(actor, shown):
            ids = {"tenant": shown.tenant_id, "case": shown.case_id, "subject": link_id}
            return refuse(tx, actor, Action.UPLOAD_LINK_RENEWED, now, denied, **ids)
        check_renewal(_met(tx, shown).facts, shown.created_at, until, now)
        tx.change(update(upload_links).where(upload_links.c.id == link_id).values(expires_at=until))
        details = {"expires_at": rfc3339(until), "before": rfc3339(shown.expires_at)}
        renewed = entry(
            actor, Action.UPLOAD_LINK_RENEWED, now, **about(shown), subject=link_id, details=details
        )
        tx.audit(renewed)
        return tx.execute(_with_case().where(upload_links.c.id == link_id)).one()

    return commit(custody, work)


def revoke_link(custody: Custody, actor: Actor, link_id: str) -> Row[Any]:
    """End a link at once; an upload through it is stopped. Repeating it changes nothing."""
    now = custody.clock.now()

    def work(tx: Transaction) -> tuple[Row[Any], int] | Refusal:
        link = _shown(tx, actor, link_id, now)
        if link is None:
            return unseen(tx, actor, Action.UPLOAD_LINK_REVOKED, now, "upload link", link_id)
        if denied := _not_issuer(tx, actor, link):
            return refuse(tx, actor, Action.UPLOAD_LINK_REVOKED, now, denied, tenant=link.tenant_id)
        if revoked := mark_revoked(tx, link_id, now):
            tx.audit(entry(actor, Action.UPLOAD_LINK_REVOKED, now, **about(link), subject=link_id))
        return tx.execute(_with_case().where(upload_links.c.id == link_id)).one(), revoked

    link, revoked = commit(custody, work)
    if not revoked:
        shown_again(custody, actor, "upload-link", link_id, about(link))
    return link


def mark_revoked(tx: Transaction, link_id: str, at: datetime) -> int:
    """Record that a live link is revoked; return how many were."""
    live = upload_links.c.id == link_id, upload_links.c.revoked_at.is_(None)
    return tx.change(update(upload_links).where(*live).values(revoked_at=at))


def may_see_link(custody: Custody, actor: Actor, link_id: str) -> bool:
    """Tell whether the actor is allowed to know of a link that they show us."""
    with custody.records.read() as reads:
        return _shown(reads, actor, link_id, custody.clock.now()) is not None


def find_link(custody: Custody, link_id: str) -> UploadLink | None:
    """Find the link with this id, for the door, which decides by signature and facts whether it can be used."""
    with custody.records.read() as reads:
        row = reads.execute(select(upload_links).where(upload_links.c.id == link_id)).first()
        return None if row is None else _met(reads, row)


def _met(reads: Reads, row: Row[Any]) -> UploadLink:
    stamp = reads.execute(select(stamps).where(stamps.c.id == row.stamp_id)).one()
    deadline = case_deadline(case_history(reads, row.case_id)) if row.case_id else None
    facts = LinkFacts(
        starts_at=row.starts_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        addresses=row.addresses,
        stamp_gone=stamp.deregistered_at is not None,
        case_deadline=deadline,
    )
    return UploadLink(row, stamp, facts)


def _page(reads: Reads, which: Any, cursor: str | None, limit: int) -> Page[Row[Any]]:
    return fetch_page(
        reads, _with_case().where(which), upload_links.c.created_at, upload_links.c.id, cursor, limit
    )


def _with_case() -> Any:
    return select(upload_links, cases.c.number).join_from(upload_links, cases, isouter=True)


def _visible_stamp(reads: Reads, actor: Actor, stamp_id: str) -> Row[Any] | None:
    mine = (
        [stamps.c.tenant_id == actor.tenant] if actor.has(Role.OPERATOR) and actor.tenant is not None else []
    )
    mine += [stamps.c.id == actor.stamp] if actor.stamp is not None else []
    seen = [] if actor.has(Role.AUDITOR) else [or_(false(), *mine)]
    live = stamps.c.id == stamp_id, stamps.c.deregistered_at.is_(None)
    return reads.execute(select(stamps).where(*live, *seen)).first()


def _shown(reads: Reads, actor: Actor, link_id: str, now: datetime) -> Row[Any] | None:
    """Return the link if the actor is allowed to see its case or its stamp."""
    link = reads.execute(_with_case().where(upload_links.c.id == link_id)).first()
    if link is None:
        return None
    found = find_case(reads, actor, link.number, now) if link.number is not None else None
    case = found is not None and sees_all_of(reads, actor, found)
    own = (actor.has(Role.OPERATOR) and actor.tenant == link.tenant_id) or (
        actor.has(Role.STAMP) and actor.stamp == link.stamp_id
    )
    return link if case or own or actor.has(Role.AUDITOR) else None


def _not_issuer(tx: Transaction, actor: Actor, link: Row[Any]) -> Denied | None:
    if link.case_id is not None:
        return _not_for_case(tx, actor, link.tenant_id, link.case_id)
    return _not_for_stamp(actor, link.tenant_id, link.stamp_id)


def _not_own(actor: Actor, link: Row[Any]) -> Denied | None:
    """Return the denial for an engineer renewing another's link: operators renew their customer's, stamps their own."""
    if link.created_by == actor.id or not_operator_of(actor, link.tenant_id) is None or link.case_id is None:
        return None
    return Denied(
        "not-issuer",
        f"link {link.id} is another's, and an engineer renews only their own: ask its issuer, or the customer's "
        "operator",
    )


def _not_for_stamp(actor: Actor, tenant: str, stamp_id: str) -> Denied | None:
    own = actor.has(Role.STAMP) and actor.stamp == stamp_id
    return None if own else not_operator_of(actor, tenant)


def _not_for_case(tx: Transaction, actor: Actor, tenant: str, case_id: str) -> Denied | None:
    if actor.has(Role.SUPPORT_ENGINEER) and is_assigned(tx, case_id, actor.id):
        return None
    return not_operator_of(actor, tenant)
