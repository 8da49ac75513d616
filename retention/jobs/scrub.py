"""The scrubbing: all stored bundles are read back, again and again, at a set pace (P1).

Rules:
- A round reads each complete bundle once, those checked longest ago first, and takes `period`: the share of the round's
  bytes that are read keeps pace with the share of the period that has passed. The next round begins a period after the
  last one did; a bundle that comes during a round is in the next.
- Its progress is in the records: a stop, a crash or another process costs at most the bundle being read.
- It yields: received bundles are read back first, and it rests as long as it reads.
- The bundle's contents index is read too; where it is not what was kept it is made anew.
- It is quiet: a sound bundle has no entry; damage has one (`completion.recheck_bundle`), and so has a round's end.
- A bundle that cannot be read for a passing fault (an unreachable store) is tried again; one that cannot be judged (its
  data key is missing or was destroyed) is counted, and does not hold up the round.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from audit.entry import Action
from audit.times import rfc3339
from retention.custody.contents_index import recheck_index
from retention.custody.context import Custody, entry
from retention.custody.uploads.completion import recheck_bundle
from retention.domain.actor import CLOCK
from retention.domain.bundle import BundleState
from retention.envelope.format import UnknownKeyEncryptionKey
from retention.objects.store_errors import KeyDestroyed, KeyMissing
from retention.records.tables import RECEIVED, SCRUBBED, bundles, scrubs
from retention.records.unit_of_work import Reads, Transaction

LOG = logging.getLogger(__name__)
SETTLED = timedelta(days=1)
"""How long ago the oldest check must be for the very first round to begin."""
SPREAD = 16
"""The next bundle is drawn from this many that have waited longest: several clocks seldom read the same one, and an
unreadable one keeps no other waiting."""
_DRAW = random.SystemRandom()
_UNJUDGED = (KeyMissing, KeyDestroyed, UnknownKeyEncryptionKey)


class Stopped(Exception):
    """The end of the process: the bundle being read is read again later."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of the scrubbing: a round takes `period`. `rest` is called between two pieces with the seconds that one
    took; it may raise Stopped."""

    period: timedelta
    rest: Callable[[float], object] = time.sleep


def scrub_next(custody: Custody, pace: Pace) -> bool:
    """Read the next bundle back if it is time to; return whether there may be more to do at once."""
    now = custody.clock.now()
    with custody.records.read() as reads:
        last = reads.execute(_LAST).first()
        if _reading_back_waits(reads) or not _is_time(reads, last, pace.period, now):
            return False
        current = last if last is not None and last.ended_at is None else None
        ahead = current is not None and _is_ahead(current, now)
        waiting = _waiting(reads, current.begun_at) if current is not None and not ahead else []
    if current is None:
        custody.records.write(lambda tx: _begin(tx, last, now))
    elif waiting:
        _read(custody, current, _DRAW.choice(waiting), pace)
    else:
        custody.records.write(lambda tx: _finish(tx, current, now))
    return current is None or bool(waiting)


_LAST = select(scrubs).order_by(scrubs.c.row.desc()).limit(1)


def _is_time(reads: Reads, last: Row[Any] | None, period: timedelta, now: datetime) -> bool:
    """Tell whether it is time to read the next bundle, end the round, or begin a new one."""
    if last is not None and _is_ahead(last, now):
        return True
    if last is not None and last.ended_at is None:
        return bool(last.bytes >= last.total or now - last.begun_at >= period * (last.bytes / last.total))
    if last is not None and now < last.begun_at + period:
        return False
    longest_ago = select(bundles.c.checked_at).where(SCRUBBED).order_by(bundles.c.checked_at).limit(1)
    oldest = reads.execute(longest_ago).scalar()
    return oldest is not None and bool(oldest <= now - SETTLED if last is None else oldest < now)


def _is_ahead(round_: Row[Any], now: datetime) -> bool:
    """Tell whether a wrong clock began the round: then it is ended, and the next one begins."""
    return bool(round_.begun_at > now + SETTLED)


def _waiting(reads: Reads, begun_at: datetime) -> list[Row[Any]]:
    """Return the bundles left in this round, those checked longest ago."""
    left = select(bundles).where(SCRUBBED, bundles.c.checked_at < begun_at)
    return list(reads.execute(left.order_by(bundles.c.checked_at, bundles.c.id).limit(SPREAD)))


def _reading_back_waits(reads: Reads) -> bool:
    received = select(bundles.c.id).where(RECEIVED, ~bundles.c.partial)
    return reads.execute(received.limit(1)).first() is not None


def _begin(tx: Transaction, last: Row[Any] | None, now: datetime) -> None:
    newest = tx.execute(_LAST).first()
    if (newest and newest.row) != (last and last.row):
        return  # another clock has begun it
    size = select(func.coalesce(func.sum(bundles.c.size), 0)).where(SCRUBBED, bundles.c.checked_at < now)
    total = int(tx.execute(size).scalar_one())
    tx.change(insert(scrubs).values(begun_at=now, total=total, bytes=0, checked=0, damaged=0, unjudged=0))


def _read(custody: Custody, current: Row[Any], bundle: Row[Any], pace: Pace) -> None:
    begun = time.perf_counter()

    def rest() -> None:
        nonlocal begun
        pace.rest(time.perf_counter() - begun)
        begun = time.perf_counter()

    judged = True
    try:
        with custody.observer.work("scrub"):
            state = recheck_bundle(custody, bundle, rest)
            if state is BundleState.COMPLETE:
                recheck_index(custody, bundle)
    except _UNJUDGED as error:
        LOG.warning("%s cannot be judged: %s", bundle.id, type(error).__name__)
        state, judged = BundleState(bundle.state), False
    now = custody.clock.now()

    def work(tx: Transaction) -> None:
        looked = bundles.c.id == bundle.id, bundles.c.checked_at == bundle.checked_at
        if not tx.change(update(bundles).where(*looked).values(checked_at=now)):
            return  # another clock has read it too, or it was erased
        s, damaged = scrubs.c, int(judged and state is BundleState.DAMAGED)
        counted = {"checked": s.checked + 1, "bytes": s.bytes + bundle.size, "damaged": s.damaged + damaged}
        of = scrubs.c.row == current.row
        tx.change(update(scrubs).where(of).values({**counted, "unjudged": s.unjudged + int(not judged)}))

    custody.records.write(work)


def _finish(tx: Transaction, current: Row[Any], now: datetime) -> None:
    """* End the round, with an entry that sums it up."""
    open_ = scrubs.c.row == current.row, scrubs.c.ended_at.is_(None)
    if not tx.change(update(scrubs).where(*open_).values(ended_at=now)):
        return
    done = tx.execute(select(scrubs).where(scrubs.c.row == current.row)).one()
    details = {"begun_at": rfc3339(done.begun_at)} | {
        name: getattr(done, name) for name in ("checked", "bytes", "damaged", "unjudged")
    }
    tx.audit(entry(CLOCK, Action.STORE_SCRUBBED, now, details=details))
