"""Entries of callers that were not let in (P3), bounded so that a flood of them cannot fill the log.

Rules:
- The first refusal of an address for a reason is an entry at once; those that follow within the window are counted and
  stand, as a number, in one entry when the window is over and somebody is refused again.
- Past MOST addresses in a window, the rest share one entry a reason: the log grows by a bounded number of entries a
  minute, whoever attacks.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from audit.entry import Action, Entry, Outcome
from retention.actor import Actor
from retention.custody.context import Custody, entry

WINDOW = timedelta(minutes=1)
MOST = 256
_Key = tuple[str, str]


@dataclass(slots=True)
class _Counted:
    since: datetime
    waiting: int = 0


class RefusedCallers:
    """Thread safe; one for the process."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody
        self._lock = threading.Lock()
        self._counted: dict[_Key, _Counted] = {}

    def note(self, address: str, reason: str, request_id: str) -> None:
        """A caller from `address` was refused for `reason`."""
        entries = self._entries(address, reason, request_id)
        if entries:
            self._custody.records.write(lambda tx: tx.audit(*entries))

    def _entries(self, address: str, reason: str, request_id: str) -> list[Entry]:
        now = self._custody.clock.now()
        with self._lock:
            entries = self._close_windows(now)
            key = (address, reason)
            if key not in self._counted and len(self._counted) >= MOST:
                key = ("(many)", reason)
            counted = self._counted.get(key)
            if counted is not None:
                counted.waiting += 1
                return entries
            self._counted[key] = _Counted(now)
        return [*entries, _entry(key, 1, now, request_id)]

    def _close_windows(self, now: datetime) -> list[Entry]:
        # A clock set back closes the windows too: better an entry too many than a window that never ends.
        over = [
            key for key, counted in self._counted.items() if not counted.since <= now < counted.since + WINDOW
        ]
        closed = [(key, self._counted.pop(key)) for key in over]
        return [_entry(key, counted.waiting, now, None) for key, counted in closed if counted.waiting]


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
