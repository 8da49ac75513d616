"""Failed work on one bundle (erasing it, fixing its parts, reading it back): noted, and tried again later.

- The first failure is an entry, and so is one for another reason than the last; the rest are counted in the bundle's
  record, and the final entry says how many there were. A store unreachable for a week writes one entry a bundle.
- Each failure doubles the wait, to at most LONGEST, less up to half by chance: work that failed together does not come
  back together.
- Work that never failed goes first (`retention.jobs.sweep`): failing work delays nothing else, however much it is.
- A customer's request for waiting work has it tried at once.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, or_, select, update

from audit.entry import Action, Detail, Outcome
from retention.custody.context import Custody, about_bundle, entry
from retention.domain.actor import CLOCK
from retention.domain.bundle import BundleState
from retention.records.tables import (
    bundles,
)
from retention.records.unit_of_work import Transaction

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
