"""The claim on a received bundle: one reader at a time, across all clocks and function workers.

- A claim is a time in the bundle's record until which it is held. Taking one is a conditional update, so only one of
  several that try at once gets it.
- Its holder renews it while reading. A holder that died keeps it for at most LEASE; one that finds another in its place
  stops reading, and records nothing.
- It ends with the bundle's state, when the work fails (`work_state`), or when it is let go.
- It saves work, and decides nothing: what is recorded at the end still depends on the state. A clock that is wrong by
  more than LEASE at worst has a bundle read twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, update

from retention.custody.context import Custody
from retention.domain.bundle import BundleState
from retention.records.tables import bundles
from retention.records.unit_of_work import Transaction

LEASE = timedelta(minutes=2)
RENEW_SECONDS = 20.0


class ClaimLost(Exception):
    """The loss of a claim to another reader, because this one was silent for longer than it."""


def is_free(now: datetime) -> ColumnElement[bool]:
    """Make the condition that nobody holds a claim. One that ends much later than any given now came from a clock that
    was wrong; one a little later, from a clock a little ahead."""
    until = bundles.c.claimed_until
    return or_(until.is_(None), until <= now, until > now + 2 * LEASE)


class Claim:
    """A held claim. Not thread-safe."""

    def __init__(
        self, custody: Custody, bundle_id: str, until: datetime, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._custody, self._bundle_id, self._until, self._ticks = custody, bundle_id, until, ticks
        self._renewed = ticks()

    def let_go(self) -> None:
        """Give up the unused claim, so that the next reader need not wait for its end."""
        mine = bundles.c.claimed_until == self._until
        _hold(self._custody, self._bundle_id, mine, None)

    def keep(self) -> None:
        """Renew the claim if that is due; call it between two pieces. ClaimLost."""
        if self._ticks() - self._renewed < RENEW_SECONDS:
            return
        self._renewed = self._ticks()
        until = self._custody.clock.now() + LEASE
        mine = bundles.c.claimed_until == self._until
        if not _hold(self._custody, self._bundle_id, mine, until):
            raise ClaimLost(self._bundle_id)
        self._until = until


def claim(custody: Custody, bundle_id: str, ticks: Callable[[], float] = time.monotonic) -> Claim | None:
    """* Claim a received bundle; None if another reader holds it, or its state has changed."""
    now = custody.clock.now()
    held = _hold(custody, bundle_id, is_free(now), now + LEASE)
    return Claim(custody, bundle_id, now + LEASE, ticks) if held else None


def _hold(custody: Custody, bundle_id: str, condition: ColumnElement[bool], until: datetime | None) -> bool:
    received = bundles.c.id == bundle_id, bundles.c.state == BundleState.RECEIVED

    def work(tx: Transaction) -> int:
        return tx.change(update(bundles).where(*received, condition).values(claimed_until=until))

    return custody.records.write(work) > 0
