"""How the work stands, read from the records: what is due, late, pending, waiting for the log or its witness.

Rules:
- Each figure comes from an index that holds only the rows in question, and counting ends at MOST: a look costs
  milliseconds however much is kept. A figure of MOST means: at least so many.
- Read when somebody asks; several readers within FRESH seconds share one look.
- A figure that cannot be had now (the witness does not answer) is left out; it is not zero.

Work of the clock on one bundle that cannot be done now: erasing it, fixing its parts, reading it back.

- The first failure is an entry, and one for another reason than the last; the rest are counted on the bundle's record,
  and the entry of the end says how many they were. A store that is away for a week writes one entry a bundle.
- After each failure it waits twice as long, LONGEST at most, less up to half by chance: what failed together does not
  come back together.
- What never failed goes first (`retention.jobs.sweep`): those that fail keep nobody waiting, however many they are.
- A customer who asks for what is waiting has it tried at once.
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
"""What a bundle's record says when its next work begins."""


def has_come(now: datetime) -> ColumnElement[bool]:
    """Whether the next try of what failed has come; also of what a clock that was wrong put off for longer than any
    pause is."""
    at = bundles.c.next_try_at
    return or_(at <= now, at > now + LONGEST)


def back_off(failures: int, draw: float) -> timedelta:
    """How long to wait after so many failures in a row; `draw`: from 0 to 1."""
    whole = min(LONGEST, FIRST * (1 << min(failures - 1, 20)))
    return whole * (1 + draw) / 2


def reason_of(error: Exception) -> str:
    """The code of a failure, for its entry."""
    return getattr(error, "reason", None) or type(error).__name__


def note_failure(
    custody: Custody, action: Action, bundle_id: str, state: BundleState, error: Exception
) -> int:
    """* `action` on a bundle in this state failed; how often in a row it has. 0: it is in another state by now."""
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
    """For the entry of the work's end: how often it failed first."""
    return {"failures": bundle.failures} if bundle.failures else {}


def try_at_once(tx: Transaction, which: Any, now: datetime) -> None:
    """What of `which` waits for its next try waits no longer."""
    tx.change(update(bundles).where(which, bundles.c.next_try_at > now).values(next_try_at=now))


MOST = 10_000
FRESH = 1.0
GRACE = timedelta(hours=1)
"""How long after its deadline a bundle that is still there counts as overdue: the sweep is to run hourly at least."""


_LONGEST_AGO = select(bundles.c.checked_at).where(SCRUBBED).order_by(bundles.c.checked_at).limit(1)


def measure(reads: Reads, now: datetime) -> dict[str, float]:
    """Each figure under the name of its metric."""
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
    """Seconds that the oldest entry has waited for its place in the log; 0 when none waits."""
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
        """`room`: bytes that uploads can still take; None where the store has no bound. `skew`: of this clock."""
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
