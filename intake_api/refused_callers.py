"""Entries of callers that were not let in (P3), bounded so that a flood of them cannot fill the log.

Rules:
- The first refusal of an address for a reason is an entry at once; those that follow within the window are counted and
  stand, as a number, in one entry when the window is over and somebody is refused again.
- Past MOST addresses in a window, the rest share one entry a reason: the log grows by a bounded number of entries a
  minute, whoever attacks.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from audit.entry import Action, Entry, Outcome
from intake_api.windows import Windows
from retention.actor import Actor
from retention.custody.context import Custody, entry

WINDOW = timedelta(minutes=1)
MOST = 256
_Key = tuple[str, str]


class RefusedCallers:
    """Thread safe; one for the process."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody
        self._windows: Windows[_Key] = Windows(WINDOW, MOST, lambda key: ("(many)", key[1]))

    def note(self, address: str, reason: str, request_id: str) -> None:
        """A caller from `address` was refused for `reason`."""
        now = self._custody.clock.now()
        first, closed = self._windows.count((address, reason), now)
        entries = [_entry(key, waiting, now, None) for key, waiting in closed]
        entries += [] if first is None else [_entry(first, 1, now, request_id)]
        if entries:
            self._custody.records.write(lambda tx: tx.audit(*entries))


def _entry(key: _Key, count: int, now: datetime, request_id: str | None) -> Entry:
    address, reason = key
    particulars = {"ip": address, **({"request_id": request_id} if request_id else {})}
    stranger = Actor(id="act_unknown", roles=frozenset(), particulars=particulars)
    return entry(
        stranger,
        Action.CALLER_REFUSED,
        now,
        outcome=Outcome.REFUSED,
        reason=reason,
        details={"count": count},
    )
