"""The state of the clock's work: metrics from the records, and the retries of work that failed.

Metrics (`measure`, `State`): what is due, late, pending, or waiting for the log or its mirror.
- Each figure comes from an index that holds only the rows in question, and counting ends at MOST: reading it takes
  milliseconds however much is kept. A figure of MOST means at least that many.
- They are read on request; several readers within FRESH seconds share one reading.
- A figure that is unavailable (the mirror does not respond) is left out; it is not zero.

Retries (`note_failure`): work on one bundle that cannot be done now: erasing it, fixing its parts, reading it back.
- The first failure is an entry, and so is one for another reason than the last; the rest are counted in the bundle's
  record, and the final entry says how many there were. A store unreachable for a week writes one entry a bundle.
- Each failure doubles the wait, to at most LONGEST, less up to half by chance: work that failed together does not come
  back together.
- Work that never failed goes first (`retention.jobs.sweep`): failing work delays nothing else, however much it is.
- A customer's request for waiting work has it tried at once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, or_, select, update

from audit.entry import Action, Detail, Outcome
from audit.log.tables import audit_entries, audit_tree
from audit.mirror.copying import Mirror
from audit.mirror.store import MirrorError
from audit.times import from_microseconds
from retention.clock import Clock
from retention.custody.context import Custody, about_bundle, entry
from retention.custody.timekeeping import read_mark
from retention.domain.actor import CLOCK
from retention.domain.bundle import BundleState
from retention.objects.store_errors import StoreError
from retention.records.tables import (
    DAMAGED,
    FAILING,
    IN_PROGRESS,
    SCRUBBED,
    WAITING,
    bundles,
    erasure_bundles,
    erasures,
)
from retention.records.unit_of_work import Reads, Records, Transaction

FIRST, LONGEST = timedelta(seconds=10), timedelta(minutes=15)
_DRAW = random.SystemRandom()
UNTRIED: dict[str, Any] = {"failures": 0, "failure": None, "next_try_at": None, "claimed_until": None}
"""The columns of a bundle's record when its next work begins."""


def has_come(now: datetime) -> ColumnElement[bool]:
    """Make the condition that the next try of failed work has come, or that a wrong clock put it off for longer than
    the longest wait."""
    at = bundles.c.next_try_at
    return or_(at <= now, at > now + LONGEST)


def back_off(failures: int, draw: float) -> timedelta:
    """Return how long to wait after this many failures in a row; `draw` is a random number from 0 to 1."""
    whole = min(LONGEST, FIRST * (1 << min(failures - 1, 20)))
    return whole * (1 + draw) / 2


def reason_of(error: Exception) -> str:
    """Return the code of a failure, for its entry."""
    return getattr(error, "reason", None) or type(error).__name__


def note_failure(
    custody: Custody, action: Action, bundle_id: str, state: BundleState, error: Exception
) -> int:
    """* Record that `action` failed on a bundle in this state; return the failures in a row, 0 if its state changed."""
    now, reason, draw = custody.clock.now(), reason_of(error), _DRAW.random()

    def work(tx: Transaction) -> int:
        held = bundles.c.id == bundle_id, bundles.c.state == state
        bundle = tx.execute(select(bundles).where(*held)).first()
        if bundle is None:
            return 0
        failures: int = bundle.failures + 1
        next_try = now + back_off(failures, draw)
        waits = {"failures": failures, "failure": reason, "next_try_at": next_try, "claimed_until": None}
        tx.change(update(bundles).where(*held).values(waits))
        if bundle.failure != reason:
            ids, details = about_bundle(bundle), {"failures": failures}
            tx.audit(entry(CLOCK, action, now, outcome=Outcome.FAILED, reason=reason, **ids, details=details))
        return failures

    return custody.records.write(work)


def failed_before(bundle: Row[Any]) -> dict[str, Detail]:
    """Return the details, for the work's final entry, of how often it failed before."""
    return {"failures": bundle.failures} if bundle.failures else {}


def try_at_once(tx: Transaction, which: Any, now: datetime) -> None:
    """Let those of `which` that wait for their next try be tried at once."""
    tx.change(update(bundles).where(which, bundles.c.next_try_at > now).values(next_try_at=now))


MOST = 10_000
FRESH = 1.0
GRACE = timedelta(hours=1)
"""How long after its deadline a remaining bundle counts as overdue: the sweep has to run at least hourly."""


_LONGEST_AGO = select(bundles.c.checked_at).where(SCRUBBED).order_by(bundles.c.checked_at).limit(1)


def measure(reads: Reads, now: datetime) -> dict[str, float]:
    """Return each figure under the name of its metric."""
    b, e = bundles.c, erasures.c
    going = (
        select(b.id, e.requested_at)
        .join_from(erasures, erasure_bundles)
        .join(bundles, b.id == erasure_bundles.c.bundle_id)
        .where(e.proven_at.is_(None), b.state == BundleState.ERASING)
    )
    late = going.where(b.due_at <= now - GRACE).with_only_columns(b.id).distinct()
    ordered = going.order_by(e.on_demand.desc(), e.requested_at).limit(MOST)
    pending = reads.execute(ordered).all()
    waiting = select(b.id).where(WAITING)
    mark = read_mark(reads)
    overdue = _count(reads, waiting.where(b.due_at <= now - GRACE)) + _count(reads, late)
    return {
        "casevault_bundles_due": _count(reads, waiting.where(b.due_at <= now)),
        "casevault_bundles_overdue": min(MOST, overdue),
        "casevault_erasures_pending": len({row.id for row in pending}),
        "casevault_erasure_oldest_pending_seconds": _age(
            min((row.requested_at for row in pending), default=None), now
        ),
        "casevault_erasures_failing": _count(
            reads, select(b.id).where(FAILING, b.state == BundleState.ERASING)
        ),
        "casevault_uploads_open": _count(
            reads, select(b.id).where(IN_PROGRESS, b.state != BundleState.RECEIVED)
        ),
        "casevault_read_back_waiting": _count(
            reads, select(b.id).where(b.state == BundleState.RECEIVED, ~b.partial)
        ),
        "casevault_bundles_damaged": _count(reads, select(b.id).where(DAMAGED)),
        "casevault_scrub_oldest_seconds": _age(reads.execute(_LONGEST_AGO).scalar(), now),
        "casevault_log_oldest_unsequenced_seconds": oldest_unsequenced(reads, now),
        "casevault_time_apart_seconds": abs(mark.gap).total_seconds() if mark else 0.0,
        "casevault_log_entries": float(reads.execute(select(audit_tree.c.size)).scalar() or 0),
    }


def oldest_unsequenced(reads: Reads, now: datetime) -> float:
    """Return how many seconds the oldest entry has waited for its place in the log; 0 if none waits."""
    waiting = select(audit_entries.c.at_us).where(audit_entries.c.leaf_index.is_(None))
    at_us = reads.execute(waiting.order_by(audit_entries.c.row).limit(1)).scalar()
    return _age(None if at_us is None else from_microseconds(at_us), now)


def _count(reads: Reads, found: Select[Any]) -> int:
    return int(reads.execute(select(func.count()).select_from(found.limit(MOST).subquery())).scalar() or 0)


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


class State:
    """The figures, at most FRESH seconds old."""

    def __init__(
        self,
        records: Records,
        mirror: Mirror,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        room: Callable[[], int | None] = lambda: None,
        skew: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Take the sources: `room` gives the bytes left for uploads (None: the store has no bound), `skew` this clock's
        skew."""
        self._room, self._skew = room, skew
        self._records, self._mirror, self._clock, self._monotonic = records, mirror, clock, monotonic
        self._lock = threading.Lock()
        self._looked = -FRESH
        self._figures: Mapping[str, float] = {}

    def __call__(self) -> Mapping[str, float]:
        with self._lock:
            if self._monotonic() - self._looked >= FRESH:
                self._figures = self._look()
                self._looked = self._monotonic()
            return self._figures

    def _look(self) -> Mapping[str, float]:
        with self._records.read() as reads:
            figures = measure(reads, self._clock.now())
        figures |= self._skew()
        with suppress(StoreError):
            if (room := self._room()) is not None:
                figures["casevault_uploads_room_bytes"] = room
        with suppress(MirrorError):
            figures["casevault_witness_lag_seconds"] = self._mirror.lag().total_seconds()
        return figures
