"""Work of the clock on one bundle that cannot be done now: erasing it, fixing its parts, reading it back.

- The first failure is an entry, and one for another reason than the last; the rest are counted on the bundle's record,
  and the entry of the end says how many they were. A store that is away for a week writes one entry a bundle.
- After each failure it waits twice as long, LONGEST at most, less up to half by chance: what failed together does not
  come back together.
- What never failed goes first (`retention.sweep`): those that fail keep nobody waiting, however many they are.
- A customer who asks for what is waiting has it tried at once.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, or_, select, update

from audit.entry import Action, Detail, Outcome
from retention.actor import CLOCK
from retention.bundle import BundleState
from retention.custody.context import Custody, about_bundle, entry
from retention.records.tables import bundles
from retention.records.unit_of_work import Transaction

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
