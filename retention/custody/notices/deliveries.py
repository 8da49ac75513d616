"""Deliveries: waiting notices are claimed receiver by receiver, and what became of each try is recorded.

Order of writing:  * receiver claimed -> sent -> * delivered, or failed with the next try
- One process at a time sends to a receiver: the claim is a token and a moment in its row, taken by a conditional update
  and renewed by each recorded delivery. So of several clocks one sends, and the order holds.
- A crash between sending and recording sends the notice again, under the same id. So does a claim that was lost to
  another process while its holder was suspended: a duplicate then comes late, never a notice before an earlier one.
- A receiver or notice that the service did not write is never sent to, or sent; nor is one of another customer's case.
- The number of a case is told only as it was bound: of a case that was altered, or is not bound, it is left out.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, delete, or_, select, update

from retention.custody.access.approval_policies import check_kept
from retention.custody.access.bound_access import Altered, check_row, read_access
from retention.custody.context import Custody
from retention.custody.notices.manage_receivers import secret_of
from retention.domain.notice import (
    GIVE_UP,
    KEPT,
    LONGEST_PAUSE,
    Kind,
    Message,
    State,
    Target,
    Way,
    back_off,
)
from retention.domain.row_tag import NOTICE, RECEIVER
from retention.records.tables import NOT_REMOVED, SENT_OR_NOT, UNSENT, notice_receivers, notices
from retention.records.unit_of_work import Reads, Transaction

LOG = logging.getLogger(__name__)
LEASE = timedelta(minutes=5)
"""How long a claim holds without a recorded delivery: many times longer than a try may take."""
FORGOTTEN_AT_ONCE = 1000
ALTERED = "altered"
_r, _n = notice_receivers.c, notices.c
_DRAW = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send to one receiver, for its holder."""

    receiver: str
    token: str


@dataclass(frozen=True, slots=True)
class Due:
    """A receiver's next notice, ready to be sent."""

    row: int
    way: Way
    message: Message
    target: Target


def waiting_receivers(custody: Custody, limit: int) -> Sequence[str]:
    """Return up to `limit` live receivers with a notice that can be tried now and that nobody is sending to."""
    now = custody.clock.now()
    waiting = select(_n.receiver_id).where(UNSENT).group_by(_n.receiver_id).subquery()
    found = select(_r.id).join(waiting, waiting.c.receiver_id == _r.id)
    with custody.records.read() as reads:
        return reads.execute(found.where(_r.removed_at.is_(None), *_free(now)).limit(limit)).scalars().all()


def claim(custody: Custody, receiver_id: str) -> Claim | None:
    """* Claim a receiver; None if another holds it, or its next try has not come."""
    now, token = custody.clock.now(), secrets.token_hex(8)
    held = update(notice_receivers).where(_r.id == receiver_id, NOT_REMOVED, *_free(now))
    taken = held.values(claim=token, claimed_until=now + LEASE)
    return Claim(receiver_id, token) if custody.records.write(lambda tx: tx.change(taken)) else None


def _free(now: datetime) -> tuple[Any, ...]:
    """Make the conditions that nobody holds a receiver and its next try has come; what a wrong clock put off for longer
    than can be counts as come."""
    return tuple(
        or_(at.is_(None), at <= now, at > now + longest)
        for at, longest in ((_r.next_try_at, LONGEST_PAUSE), (_r.claimed_until, LEASE))
    )


def next_due(custody: Custody, held: Claim) -> Due | None:
    """Return the receiver's oldest waiting notice; None if none waits, the receiver is gone, or it was altered."""
    with custody.records.read() as reads:
        receiver = reads.execute(select(notice_receivers).where(_r.id == held.receiver)).one()
        mine = select(notices).where(_n.receiver_id == held.receiver, UNSENT).order_by(_n.row).limit(1)
        notice = reads.execute(mine).first()
        if notice is None or receiver.removed_at is not None:
            return None
        _check(reads, custody, receiver)
        check_row(custody.binding, NOTICE, notice)
        number = None if notice.case_id is None else _number(reads, custody, notice, receiver.tenant_id)
    way = Way(receiver.way)
    secret = secret_of(custody.binding, receiver.id) if way is Way.WEBHOOK else b""
    message = Message(
        notice.id,
        Kind(notice.kind),
        notice.at,
        notice.entry_id,
        number,
        custody.telling.origin,
    )
    return Due(notice.row, way, message, Target(receiver.address, secret))


class AlteredReceiver(Altered):
    """A receiver that is not as it was added."""


def _check(reads: Reads, custody: Custody, receiver: Row[Any]) -> None:
    try:
        check_kept(reads, custody.binding, RECEIVER, receiver.id, receiver)
    except Altered as error:
        raise AlteredReceiver(error.what) from None


def _number(reads: Reads, custody: Custody, notice: Row[Any], tenant: str | None) -> str | None:
    """Return the number of a notice's case; None if it is not as bound. Altered if it is not this customer's (`tenant`;
    None for an engineer's receiver)."""
    try:
        access = read_access(reads, custody.binding, notice.case_id)
    except Altered as error:
        LOG.critical(
            "the records were altered: %s; notice %s is sent without its number", error.what, notice.id
        )
        return None
    if tenant not in (None, access.tenant):
        raise Altered(f"notice {notice.id} is of a case that is not its receiver's")
    return access.number


def note_delivered(custody: Custody, held: Claim, row: int) -> bool:
    """* Record a delivery and renew the claim; return whether it still held."""
    now = custody.clock.now()
    well = {
        "failures": 0,
        "failure": None,
        "next_try_at": None,
        "delivered_at": now,
        "claimed_until": now + LEASE,
    }
    ended = {"state": State.DELIVERED, "ended_at": now, "tries": _n.tries + 1, "failure": None}

    def work(tx: Transaction) -> bool:
        tx.change(update(notices).where(_n.row == row, UNSENT).values(ended))
        return tx.change(update(notice_receivers).where(*_held(held)).values(well)) > 0

    return custody.records.write(work)


def note_failed(custody: Custody, held: Claim, row: int, reason: str) -> int:
    """* Record a failed try, end the claim, and give up what has waited for GIVE_UP; return how many were given up."""
    now, draw = custody.clock.now(), _DRAW.random()
    over = and_(_n.receiver_id == held.receiver, UNSENT, _n.at <= now - GIVE_UP)

    def work(tx: Transaction) -> int:
        failures = tx.execute(select(_r.failures).where(*_held(held))).scalar()
        if failures is None:
            return 0
        waits = {
            "failures": failures + 1,
            "failure": reason,
            "next_try_at": now + back_off(failures + 1, draw),
        }
        tx.change(
            update(notice_receivers).where(*_held(held)).values(**waits, claim=None, claimed_until=None)
        )
        tx.change(update(notices).where(_n.row == row, UNSENT).values(tries=_n.tries + 1, failure=reason))
        ended = {"state": State.GIVEN_UP, "failure": reason, "ended_at": now}
        return tx.change(update(notices).where(over).values(ended))

    return custody.records.write(work)


def refuse_altered(custody: Custody, receiver_id: str) -> None:
    """* Give up the receiver's oldest notice, which the service did not write, so that it holds back no other."""
    oldest = select(_n.row).where(_n.receiver_id == receiver_id, UNSENT).order_by(_n.row).limit(1)
    ended = {"state": State.GIVEN_UP, "failure": ALTERED, "ended_at": custody.clock.now()}
    custody.records.write(
        lambda tx: tx.change(update(notices).where(_n.row == oldest.scalar_subquery(), UNSENT).values(ended))
    )


def let_go(custody: Custody, held: Claim) -> None:
    """* End a claim."""
    free = update(notice_receivers).where(*_held(held)).values(claim=None, claimed_until=None)
    custody.records.write(lambda tx: tx.change(free))


def _held(held: Claim) -> tuple[Any, Any]:
    return _r.id == held.receiver, _r.claim == held.token


def forget_ended(custody: Custody) -> int:
    """Delete notices that ended KEPT ago, and those that wait for a receiver that is gone; return how many."""
    old = select(_n.row).where(SENT_OR_NOT, _n.ended_at <= custody.clock.now() - KEPT).order_by(_n.ended_at)
    gone = select(_n.row).join(notice_receivers).where(UNSENT, _r.removed_at.is_not(None))
    count = 0
    for which in (old.limit(FORGOTTEN_AT_ONCE), gone.limit(FORGOTTEN_AT_ONCE)):
        with custody.records.read() as reads:
            rows = reads.execute(which).scalars().all()
        if rows:
            statement = delete(notices).where(_n.row.in_(rows))
            count += custody.records.write(lambda tx, statement=statement: tx.change(statement))  # type: ignore[misc]
    return count
