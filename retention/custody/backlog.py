"""The backlog of the clock's work, as figures from the records: what is due, late, pending, or waiting for the log.

- Each figure comes from an index that holds only the rows in question, and counting ends at MOST: reading it takes
  milliseconds however much is kept. A figure of MOST means at least that many.
- They are read on request; several readers within FRESH seconds share one reading.
- A figure that is unavailable (the mirror does not respond) is left out; it is not zero.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select

from audit.log.tables import audit_entries, audit_tree
from audit.mirror.copying import Mirror
from audit.mirror.store import MirrorError
from audit.times import from_microseconds
from retention.clock import Clock
from retention.custody.timekeeping import read_mark
from retention.domain.bundle import BundleState
from retention.objects.store_errors import StoreError
from retention.records.tables import (
    DAMAGED,
    ERASING,
    FAILING,
    GIVEN_UP,
    RECEIVED,
    SCRUBBED,
    UNCOMMITTED,
    UNPROVEN,
    UNSENT,
    WAITING,
    bundles,
    erasures,
    notices,
)
from retention.records.unit_of_work import Reads, Records

MOST = 10_000
FRESH = 1.0
GRACE = timedelta(hours=1)
"""How long after its deadline a remaining bundle counts as overdue: the sweep has to run at least hourly."""


_LONGEST_AGO = select(bundles.c.checked_at).where(SCRUBBED).order_by(bundles.c.checked_at).limit(1)

_OLDEST_NOTICE = select(func.min(notices.c.at)).where(UNSENT)


def measure(reads: Reads, now: datetime) -> dict[str, float]:
    """Return each figure under the name of its metric."""
    b = bundles.c
    waiting, erasing = select(b.id).where(WAITING), select(b.id).where(ERASING)
    mark = read_mark(reads)
    late = b.due_at <= now - GRACE
    overdue = _count(reads, waiting.where(late)) + _count(reads, erasing.where(late))
    return {
        "casevault_bundles_due": _count(reads, waiting.where(b.due_at <= now)),
        "casevault_bundles_overdue": min(MOST, overdue),
        "casevault_erasures_pending": _count(reads, erasing),
        "casevault_erasure_oldest_pending_seconds": _age(_oldest_pending(reads), now),
        "casevault_erasures_failing": _count(
            reads, select(b.id).where(FAILING, b.state == BundleState.ERASING)
        ),
        "casevault_uploads_open": _count(reads, select(b.id).where(UNCOMMITTED)),
        "casevault_read_back_waiting": _count(reads, select(b.id).where(RECEIVED, ~b.partial)),
        "casevault_bundles_damaged": _count(reads, select(b.id).where(DAMAGED)),
        "casevault_scrub_oldest_seconds": _age(reads.execute(_LONGEST_AGO).scalar(), now),
        "casevault_notices_waiting": _count(reads, select(notices.c.row).where(UNSENT)),
        "casevault_notices_oldest_waiting_seconds": _age(reads.execute(_OLDEST_NOTICE).scalar(), now),
        "casevault_notices_given_up": _count(reads, select(notices.c.id).where(GIVEN_UP)),
        "casevault_log_oldest_unsequenced_seconds": oldest_unsequenced(reads, now),
        "casevault_time_apart_seconds": abs(mark.gap).total_seconds() if mark else 0.0,
        "casevault_log_entries": float(reads.execute(select(audit_tree.c.size)).scalar() or 0),
    }


def _oldest_pending(reads: Reads) -> datetime | None:
    """Return when the oldest erasure that is not proven was requested: the index has each kind in order."""
    at = erasures.c.requested_at
    kinds = [select(at).where(UNPROVEN, erasures.c.on_demand == kind) for kind in (True, False)]
    oldest = [reads.execute(kind.order_by(at).limit(1)).scalar() for kind in kinds]
    return min((each for each in oldest if each is not None), default=None)


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
