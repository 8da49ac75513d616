"""Sending notices (`retention.domain.notice`): what waits is sent, receiver by receiver, each in its order.

Rules:
- Several receivers at once, each by one process at a time (`retention.custody.notices.deliveries`): one that hangs
  delays no other, and one that is away is asked again after ever longer pauses.
- Bounded: a call sends up to AT_A_TIME to each of up to RECEIVERS. The next goes on from the records.
- A sender that breaks has failed: whatever it raises ends this try, and delays no other receiver.
- Nothing is sent while the records may be older than the log (`retention.custody.log_gate`): a receiver that was
  removed since would come back with them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from retention.custody.access.bound_access import Altered
from retention.custody.context import Custody
from retention.custody.log_gate import SHUT
from retention.custody.notices import deliveries
from retention.custody.notices.deliveries import ALTERED, AlteredReceiver, Claim
from retention.domain.faults import Unavailable
from retention.domain.notice import Sender, Undelivered, Way

LOG = logging.getLogger(__name__)
RECEIVERS = 64
AT_A_TIME = 50
AT_ONCE = 8
BROKEN = "broken"


@dataclass(slots=True)
class Sent:
    """The counts of one call; `busy`: more could be sent at once."""

    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    busy: bool = False


def send_notices(custody: Custody, senders: Mapping[Way, Sender]) -> Sent:
    """Send what waits, and forget what ended long ago."""
    done = Sent()
    waiting = deliveries.waiting_receivers(custody, RECEIVERS)
    if waiting and _is_open(custody):
        with ThreadPoolExecutor(min(AT_ONCE, len(waiting)), "notices") as pool:
            for each in pool.map(lambda receiver: _send_to(custody, senders, receiver), waiting):
                done.delivered += each.delivered
                done.failed += each.failed
                done.given_up += each.given_up
                done.busy = done.busy or each.busy
    deliveries.forget_ended(custody)
    return done


def _is_open(custody: Custody) -> bool:
    try:
        least = custody.gate.ask(custody.clock.now())
        with custody.records.read() as reads:
            custody.gate.check(reads, least)
    except Unavailable as shut:
        if shut.reason not in SHUT:
            raise
        LOG.warning("no notices are sent for now (%s): %s", shut.reason, shut.message)
        return False
    return True


def _send_to(custody: Custody, senders: Mapping[Way, Sender], receiver: str) -> Sent:
    done = Sent()
    held = deliveries.claim(custody, receiver)
    if held is None:
        return done
    for _ in range(AT_A_TIME):
        if not _send_one(custody, senders, held, done):
            return done
    deliveries.let_go(custody, held)
    done.busy = True
    return done


def _send_one(custody: Custody, senders: Mapping[Way, Sender], held: Claim, done: Sent) -> bool:
    """Send the receiver's next notice; return whether to go on with it under this claim."""
    try:
        due = deliveries.next_due(custody, held)
    except AlteredReceiver as error:
        LOG.critical("the records were altered: %s; nothing is sent to it", error.what)
        done.failed += 1
        done.given_up += deliveries.note_failed(custody, held, -1, ALTERED)
        return False
    except Altered as error:
        LOG.critical("the records were altered: %s; it is not sent", error.what)
        deliveries.refuse_altered(custody, held.receiver)
        done.given_up += 1
        return True
    if due is None:
        deliveries.let_go(custody, held)
        return False
    try:
        with custody.observer.work("notice"):
            senders[due.way].send(due.message, due.target, custody.clock.now())
    except Undelivered as error:
        reason = error.reason
        LOG.warning("notice %s was not delivered to %s: %s", due.message.id, held.receiver, reason)
    except Exception as error:  # its text could quote the address
        reason = BROKEN
        LOG.critical("notice %s: sending broke off by %s", due.message.id, type(error).__name__)
    else:
        done.delivered += 1
        return deliveries.note_delivered(custody, held, due.row)
    done.failed += 1
    done.given_up += deliveries.note_failed(custody, held, due.row, reason)
    return False
