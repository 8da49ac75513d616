"""Receivers of notices: added, tested, removed and listed by who is told, with how sending goes.

Order of writing:  * the receiver's row + `notice-receiver.added`, `.removed` or `.tested`
Rules:
- A customer's operators say where the customer's notices go; an engineer, where the answers to their own requests go.
- A receiver decides who learns something, so its row is believed only under the service's tag, and only while the log
  knows of no later act on it: nobody who writes the database can redirect notices, or bring a removed receiver back.
- A webhook's secret is derived from the service's binding key and the receiver's id, and stored nowhere. It is shown
  once, when the receiver is added; for another one the receiver is added anew.
- A removed receiver keeps no address, and gets nothing any more, however much waits for it.
- The other receivers of a customer are told when one comes or goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, false, func, insert, or_, select, true, update

from audit.entry import Action, Detail
from retention.custody.access.approval_policies import check_kept
from retention.custody.access.bound_access import Altered
from retention.custody.context import Custody, Refusal, commit, entry, refuse, unseen
from retention.domain.actor import Actor, Role
from retention.domain.faults import Conflict
from retention.domain.grants import Denied
from retention.domain.ids import Kind, new_id
from retention.domain.notice import MOST_RECEIVERS, TEST_EVERY, Way, check_address
from retention.domain.notice import Kind as NoticeKind
from retention.domain.row_tag import RECEIVER, Binding
from retention.records.queries import Page, fetch_page
from retention.records.tables import GIVEN_UP, NOT_REMOVED, UNSENT, cases, notice_receivers, notices
from retention.records.unit_of_work import Reads, Transaction

WEBHOOK_SECRET = "webhook"  # noqa: S105 - the name of a kind
NOBODYS = Denied(
    "role-missing",
    "notices are for a customer, whose operator adds receivers, and for engineers, who add their own (`mine`)",
)
_r = notice_receivers.c


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver as its owner sees it. `state`: `ok`, `failing`, `removed`, or `altered` (nothing is sent).

    `waiting` and `given_up`: how many of its notices are.
    """

    row: Row[Any]
    state: str
    waiting: int
    given_up: int
    secret: bytes | None = None
    """A webhook's secret, once: when the receiver was added."""


def secret_of(binding: Binding, receiver_id: str) -> bytes:
    """Return the 32 bytes that sign what a webhook gets."""
    return binding.secret(WEBHOOK_SECRET, receiver_id)


def add_receiver(custody: Custody, actor: Actor, way: Way, address: str, *, mine: bool = False) -> Receiver:
    """Add a receiver: the customer's, for an operator; the engineer's own, with `mine`.

    Invalid: an address that notices cannot be sent to. Conflict: it is there already, or there are MOST_RECEIVERS.
    """
    now, action = custody.clock.now(), Action.NOTICE_RECEIVER_ADDED
    id_ = new_id(Kind.RECEIVER)

    def work(tx: Transaction) -> Receiver | Refusal:
        owner = _owner(actor, mine=mine)
        if isinstance(owner, Denied):
            return refuse(tx, actor, action, now, owner, tenant=actor.tenant)
        checked = check_address(way, address.strip(), loopback=custody.telling.loopback)
        _check_room(tx, owner, checked)
        said: dict[str, Detail] = {"way": way.value}
        added = entry(
            actor,
            action,
            now,
            tenant=owner["tenant_id"],
            subject=id_,
            details=said,
            particulars={"address": checked},
        )
        row: dict[str, Any] = {
            "id": id_,
            **owner,
            "way": way.value,
            "address": checked,
            "added_at": now,
            "added_by": actor.id,
            "removed_at": None,
            "entry_id": added.id,
        }
        row["tag"] = custody.binding.tag_row(RECEIVER, row)
        tx.change(insert(notice_receivers).values(row))
        tx.audit(added)
        secret = secret_of(custody.binding, id_) if way is Way.WEBHOOK else None
        return Receiver(tx.execute(select(notice_receivers).where(_r.id == id_)).one(), "ok", 0, 0, secret)

    return commit(custody, work)


def remove_receiver(custody: Custody, actor: Actor, receiver_id: str) -> Receiver:
    """Remove a receiver: nothing more is sent to it, and its address is forgotten."""
    now, action = custody.clock.now(), Action.NOTICE_RECEIVER_REMOVED

    def work(tx: Transaction) -> Receiver | Refusal:
        row = _own(tx, actor, action, receiver_id, now)
        if isinstance(row, Refusal):
            return row
        removed = entry(actor, action, now, tenant=row.tenant_id, subject=row.id, details={"way": row.way})
        mark_removed(tx, custody.binding, row, now, removed.id)
        tx.audit(removed)
        gone = tx.execute(select(notice_receivers).where(_r.id == row.id)).one()
        return Receiver(gone, "removed", 0, 0)

    return commit(custody, work)


def send_test(custody: Custody, actor: Actor, receiver_id: str) -> Receiver:
    """Have a test sent to a receiver. Conflict if the last was asked for less than TEST_EVERY ago."""
    now, action = custody.clock.now(), Action.NOTICE_RECEIVER_TESTED

    def work(tx: Transaction) -> Receiver | Refusal:
        row = _own(tx, actor, action, receiver_id, now)
        if isinstance(row, Refusal):
            return row
        n = notices.c
        same = n.receiver_id == row.id, n.kind == NoticeKind.TEST, n.about == row.id
        if tx.execute(select(n.row).where(*same, n.at > now - TEST_EVERY, n.at <= now)).first() is not None:
            raise Conflict(
                "a test was sent to this receiver within the minute: look what became of it",
                reason="tested-just-now",
            )
        tx.audit(entry(actor, action, now, tenant=row.tenant_id, subject=row.id, details={"way": row.way}))
        return _with_state(tx, custody.binding, row)

    return commit(custody, work)


def list_receivers(custody: Custody, actor: Actor, cursor: str | None, limit: int) -> Page[Receiver]:
    """List the receivers that the actor sees, newest first: the customer's, their own; for auditors all."""
    with custody.records.read() as reads:
        shown = select(notice_receivers).where(_visible(actor), NOT_REMOVED)
        page = fetch_page(reads, shown, _r.added_at, _r.id, cursor, limit)
        return Page([_with_state(reads, custody.binding, row) for row in page.items], page.next)


def list_notices(
    custody: Custody, actor: Actor, receiver_id: str, cursor: str | None, limit: int
) -> Page[Row[Any]]:
    """List what was written for one receiver, newest first, with what became of it."""
    now = custody.clock.now()
    n = notices.c
    with custody.records.read() as reads:
        if _find(reads, actor, receiver_id) is not None:
            shown = select(notices, cases.c.number).join(cases, cases.c.id == n.case_id, isouter=True)
            return fetch_page(reads, shown.where(n.receiver_id == receiver_id), n.at, n.id, cursor, limit)
    return commit(custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "receiver", receiver_id))


def mark_removed(tx: Transaction, binding: Binding, row: Row[Any], at: datetime, entry_id: str) -> int:
    """Write that a receiver is gone, by the entry that says so. An altered row stays altered."""
    new = {"removed_at": at, "address": "", "entry_id": entry_id}
    if binding.holds_row(RECEIVER, row):
        new["tag"] = binding.tag_row(RECEIVER, {**row._mapping, **new})
    return tx.change(update(notice_receivers).where(_r.id == row.id).values(new))


def forget_addresses(tx: Transaction, binding: Binding, which: Any, at: datetime) -> None:
    """Forget where these receivers were, after a redaction: nothing more is sent to them."""
    for row in tx.execute(select(notice_receivers).where(which, _r.address != "")).all():
        mark_removed(tx, binding, row, at, row.entry_id)


def _owner(actor: Actor, *, mine: bool) -> Mapping[str, str | None] | Denied:
    if mine and actor.has(Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER):
        return {"tenant_id": None, "actor_id": actor.id}
    if not mine and actor.has(Role.OPERATOR) and actor.tenant is not None:
        return {"tenant_id": actor.tenant, "actor_id": None}
    return NOBODYS


def _not_owner(actor: Actor, row: Row[Any]) -> Denied | None:
    own = row.actor_id is not None and row.actor_id == actor.id
    theirs = row.tenant_id is not None and actor.has(Role.OPERATOR) and actor.tenant == row.tenant_id
    return None if own or theirs else NOBODYS


def _check_room(tx: Transaction, owner: Mapping[str, str | None], address: str) -> None:
    whose = [_r[name] == value for name, value in owner.items() if value is not None]
    held = tx.execute(select(_r.address).where(*whose, NOT_REMOVED)).scalars().all()
    if address in held:
        raise Conflict("notices are sent to this address already", reason="receiver-known")
    if len(held) >= MOST_RECEIVERS:
        raise Conflict(
            f"there are {len(held)} receivers, and at most {MOST_RECEIVERS}: remove one first",
            reason="too-many-receivers",
        )


def _visible(actor: Actor) -> ColumnElement[bool]:
    if actor.has(Role.AUDITOR):
        return true()
    seen: list[ColumnElement[bool]] = [false()]
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        seen.append(_r.tenant_id == actor.tenant)
    if actor.has(Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER):
        seen.append(_r.actor_id == actor.id)
    return or_(*seen)


def _own(
    tx: Transaction, actor: Actor, action: Action, receiver_id: str, now: datetime
) -> Row[Any] | Refusal:
    """Find a receiver for an act of its owner."""
    row = _find(tx, actor, receiver_id)
    if row is None:
        return unseen(tx, actor, action, now, "receiver", receiver_id)
    if denied := _not_owner(actor, row):
        return refuse(tx, actor, action, now, denied, tenant=row.tenant_id, subject=row.id)
    return row


def _find(reads: Reads, actor: Actor, receiver_id: str) -> Row[Any] | None:
    return reads.execute(
        select(notice_receivers).where(_r.id == receiver_id, _visible(actor), NOT_REMOVED)
    ).first()


def _with_state(reads: Reads, binding: Binding, row: Row[Any]) -> Receiver:
    def count(which: Any) -> int:
        counted = select(func.count()).select_from(notices)
        return reads.execute(counted.where(notices.c.receiver_id == row.id, which)).scalar() or 0

    state = "failing" if row.failures else "ok"
    try:
        check_kept(reads, binding, RECEIVER, row.id, row)
    except Altered:
        state = "altered"
    return Receiver(row, state, count(UNSENT), count(GIVEN_UP))
