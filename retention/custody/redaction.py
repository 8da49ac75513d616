"""Redaction: particulars that name a person are removed; the leaves stay, and the tree still verifies.

Order of writing
  an entry:  * its particulars and salt removed + entry `entry.redacted`, in one transaction
  a person:  * the name, the identity, the reasons of their grants and requests, their notes, and where their own
               notices go removed
             + entry `actor.redacted`
             -> the particulars of all entries until then by them or that name them, some in each transaction
A crash in between leaves entries that the log says are redacted: a repeated request, or the next start, goes on.

Rules:
- An administrator decides, with a reason, and never about their own entries. The decision is an entry, which says who
  and why, and names the redacted entry or the person's opaque id; it belongs to the same customer's log.
- A person who is assigned to a case, or holds a live grant, cannot be forgotten: that has to end first. If they sign in
  again they are somebody new.
- The log remembers: a restored database is redacted again (`redact_again`, when records are reconciled).
- Copies elsewhere (tiles, mirrors, witnesses) hold leaves only. Exports and back-ups already taken are for others to
  delete.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, or_, select, update

from audit.entry import Action, Outcome
from audit.log.append import redaction
from audit.log.tables import audit_entries
from audit.times import from_microseconds
from retention.custody.access.manage_approvals import forget_texts
from retention.custody.context import Custody, Refusal, commit, entry, lacks_role, refuse, unseen
from retention.custody.notices.manage_receivers import forget_addresses
from retention.domain.actor import Actor, Role
from retention.domain.faults import Conflict
from retention.domain.grants import Denied, check_reason
from retention.domain.row_tag import ACTOR, Binding
from retention.records.sqlite_engine import truncate_wal
from retention.records.tables import (
    actors,
    approvals,
    assignments,
    grants,
    notice_receivers,
    portal_sessions,
    reviews,
)
from retention.records.unit_of_work import Transaction

AT_ONCE = 500
"""Number of entries redacted in one transaction."""
_e = audit_entries.c
_ANSWERS = (Action.APPROVAL_GIVEN, Action.APPROVAL_DECLINED, Action.APPROVAL_WITHDRAWN)
_SUBJECT_IS_A_PERSON = (Action.CASE_ASSIGNED, Action.CASE_UNASSIGNED)


@dataclass(frozen=True, slots=True)
class Redacted:
    """A redaction: the entry's or person's id, when it was decided, and how many entries lost particulars now."""

    redacted: str
    at: datetime
    entries: int


def redact_entry(custody: Custody, actor: Actor, entry_id: str, reason: str) -> Redacted:
    """Remove an entry's particulars. Role: administrator. Repeating it changes nothing."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Redacted | Refusal:
        if denied := lacks_role(actor, Role.ADMINISTRATOR):
            return refuse(tx, actor, Action.ENTRY_REDACTED, now, denied)
        held = tx.execute(select(audit_entries).where(_e.entry_id == entry_id)).first()
        if held is None:
            return unseen(tx, actor, Action.ENTRY_REDACTED, now, "entry", entry_id)
        if denied := check_reason(reason) or _own(actor, held.actor):
            return refuse(tx, actor, Action.ENTRY_REDACTED, now, denied, subject=entry_id)
        if held.redacted_at is not None:
            return Redacted(entry_id, from_microseconds(held.redacted_at), 0)
        if held.particulars is None:
            raise Conflict(f"entry {entry_id} has no particulars to redact", reason="nothing-to-redact")
        _redact(tx, custody.binding, held, now)
        ids = {"tenant": held.tenant, "case": held.case_id, "bundle": held.bundle, "subject": entry_id}
        said = {"reason": reason.strip()}
        tx.audit(entry(actor, Action.ENTRY_REDACTED, now, **ids, particulars=said))
        return Redacted(entry_id, now, 1)

    done = commit(custody, work)  # * redacted from here
    truncate_wal(custody.records.engine)
    return done


def redact_person(custody: Custody, actor: Actor, actor_id: str, reason: str) -> Redacted:
    """Forget who an actor was, in the records and beside every entry. Role: administrator. Repeating it resumes."""
    now = custody.clock.now()

    def work(tx: Transaction) -> datetime | Refusal:
        if denied := lacks_role(actor, Role.ADMINISTRATOR):
            return refuse(tx, actor, Action.ACTOR_REDACTED, now, denied)
        person = tx.execute(select(actors).where(actors.c.id == actor_id)).first()
        if person is None:
            return unseen(tx, actor, Action.ACTOR_REDACTED, now, "actor", actor_id)
        if denied := check_reason(reason) or _own(actor, actor_id):
            return refuse(tx, actor, Action.ACTOR_REDACTED, now, denied, subject=actor_id)
        if _is_forgotten(person) and (before := _decided_at(tx, Action.ACTOR_REDACTED, actor_id)):
            return before
        if why := _still_acts(tx, actor_id, now):
            raise Conflict(f"person {actor_id} {why}: end that first", reason="still-acting")
        _forget(tx, custody.binding, actor_id, now)
        said = {"reason": reason.strip()}
        tx.audit(entry(actor, Action.ACTOR_REDACTED, now, subject=actor_id, particulars=said))
        return now

    decided = commit(custody, work)  # * decided, and the records have forgotten
    count = _redact_entries_of(custody, actor_id)
    truncate_wal(custody.records.engine)
    return Redacted(actor_id, decided, count)


def redact_again(custody: Custody) -> int:
    """Redact again what the log says was redacted but the records still hold, after a restore or a crash. Return how
    many entries lost particulars."""
    said = select(_e.action, _e.subject).where(
        _e.action.in_((Action.ENTRY_REDACTED, Action.ACTOR_REDACTED)), _e.outcome == Outcome.SUCCESS
    )
    with custody.records.read() as reads:
        decided = reads.execute(said.order_by(_e.row)).all()
    count, now = 0, custody.clock.now()
    for action, subject in decided:
        if action == Action.ENTRY_REDACTED:
            count += custody.records.write(lambda tx, named=subject: _redact_named(tx, named, custody))  # type: ignore[misc]
        else:
            custody.records.write(lambda tx, named=subject: _forget(tx, custody.binding, named, now))  # type: ignore[misc]
            count += _redact_entries_of(custody, subject)
    if count:
        truncate_wal(custody.records.engine)
    return count


def _own(actor: Actor, whose: str | None) -> Denied | None:
    """Return the denial if the entries are the actor's own: nobody removes the traces of their own acts."""
    denied = Denied("own-entry", "another administrator has to redact your own entries")
    return denied if actor.id == whose else None


def _is_forgotten(person: Row[Any]) -> bool:
    return bool(person.issuer == "" and person.subject == person.id)


def _still_acts(tx: Transaction, actor_id: str, now: datetime) -> str | None:
    assigned = assignments.c.actor_id == actor_id, assignments.c.unassigned_at.is_(None)
    if tx.execute(select(assignments.c.row).where(*assigned).limit(1)).first():
        return "is assigned to a case"
    live = grants.c.actor_id == actor_id, grants.c.ended_at.is_(None), grants.c.expires_at > now
    held = tx.execute(select(grants.c.id).where(*live).limit(1)).first()
    return "holds a live grant" if held else None


def _forget(tx: Transaction, binding: Binding, actor_id: str, at: datetime) -> None:
    """Remove who the actor was from the records. No issuer has an empty name, so no token ever finds them again."""
    nobody = {"issuer": "", "subject": actor_id, "name": None}
    known = actors.c.id == actor_id, actors.c.issuer != ""
    tag = binding.tag_row(ACTOR, {"id": actor_id, **nobody})
    tx.change(update(actors).where(*known).values({**nobody, "tag": tag}))
    tx.change(delete(portal_sessions).where(portal_sessions.c.actor_id == actor_id))
    written = grants.c.actor_id == actor_id, grants.c.reason != ""
    tx.change(update(grants).where(*written).values(reason=""))
    a = approvals.c
    forget_texts(tx, binding, (a.actor_id == actor_id) & (a.reason != ""), reason=True, note=False)
    forget_texts(tx, binding, (a.answered_by == actor_id) & a.note.is_not(None), reason=False, note=True)
    tx.change(update(reviews).where(reviews.c.actor_id == actor_id).values(note=None))
    forget_addresses(tx, binding, notice_receivers.c.actor_id == actor_id, at)


def _redact(tx: Transaction, binding: Binding, held: Row[Any], now: datetime) -> None:
    """Redact an entry, and what it says that stands in the records as well."""
    tx.change(redaction([_e.row == held.row], now))
    if held.action in (Action.GRANT_GIVEN, Action.APPROVAL_ASKED):
        asked = approvals.c.id == held.subject, approvals.c.grant_id == held.subject
        approved = select(approvals.c.grant_id).where(asked[0])
        given = or_(grants.c.id == held.subject, grants.c.id.in_(approved))
        tx.change(update(grants).where(given).values(reason=""))
        forget_texts(tx, binding, or_(*asked), reason=True, note=False)
    elif held.action in _ANSWERS:
        forget_texts(tx, binding, approvals.c.id == held.subject, reason=False, note=True)
    elif held.action == Action.NOTICE_RECEIVER_ADDED:
        forget_addresses(tx, binding, notice_receivers.c.id == held.subject, now)
    elif held.action in (Action.REVIEW_SIGNED_OFF, Action.REVIEW_QUESTIONED):
        tx.change(update(reviews).where(reviews.c.entry_id == held.entry_id).values(note=None))


def _redact_named(tx: Transaction, entry_id: str, custody: Custody) -> int:
    whole = _e.entry_id == entry_id, _e.redacted_at.is_(None)
    held = tx.execute(select(audit_entries).where(*whole)).first()
    if held is None:
        return 0
    _redact(tx, custody.binding, held, custody.clock.now())
    return 1


def _redact_entries_of(custody: Custody, actor_id: str) -> int:
    """Redact, some at a time, the entries before the newest decision to forget this person."""

    def work(tx: Transaction) -> int:
        decided = _e.action == Action.ACTOR_REDACTED, _e.subject == actor_id, _e.outcome == Outcome.SUCCESS
        until = tx.execute(select(_e.row).where(*decided).order_by(_e.row.desc()).limit(1)).scalar()
        theirs = or_(_e.actor == actor_id, (_e.subject == actor_id) & _e.action.in_(_SUBJECT_IS_A_PERSON))
        left = theirs, _e.row < (until or 0), _e.particulars.is_not(None)
        rows = tx.execute(select(_e.row).where(*left).limit(AT_ONCE)).scalars().all()
        if rows:
            tx.change(redaction([_e.row.in_(rows)], custody.clock.now()))
        return len(rows)

    count = 0
    while some := custody.records.write(work):
        count += some
    return count


def _decided_at(tx: Transaction, action: Action, subject: str) -> datetime | None:
    from_log = select(_e.at_us).where(
        _e.action == action, _e.subject == subject, _e.outcome == Outcome.SUCCESS
    )
    at_us = tx.execute(from_log.order_by(_e.row.desc()).limit(1)).scalar()
    return None if at_us is None else from_microseconds(at_us)
