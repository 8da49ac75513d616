"""Counting what happens again and again, so that the log grows by a bounded number of entries, whoever calls how often.

The first of a kind is told at once; those that follow within the window are counted, and their number is told when the
window is over and something happens again. Past `most` kinds in a window the rest are counted together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Counted:
    since: datetime
    waiting: int = 0


class Windows(Generic[K]):
    """Thread safe. `together` is the kind that a kind is counted under when there are too many."""

    def __init__(self, window: timedelta, most: int, together: Callable[[K], K]) -> None:
        self._window, self._most, self._together = window, most, together
        self._lock = threading.Lock()
        self._counted: dict[K, _Counted] = {}

    def count(self, kind: K, now: datetime) -> tuple[K | None, list[tuple[K, int]]]:
        """The kind to tell now, None when it is only counted; and what closed windows counted beyond their first."""
        with self._lock:
            closed = self._close(now)
            if kind not in self._counted and len(self._counted) >= self._most:
                kind = self._together(kind)
            counted = self._counted.get(kind)
            if counted is not None:
                counted.waiting += 1
                return None, closed
            self._counted[kind] = _Counted(now)
            return kind, closed

    def _close(self, now: datetime) -> list[tuple[K, int]]:
        # A clock set back closes the windows too: better an entry too many than a window that never ends.
        over = [
            kind
            for kind, counted in self._counted.items()
            if not counted.since <= now < counted.since + self._window
        ]
        closed = [(kind, self._counted.pop(kind).waiting) for kind in over]
        return [(kind, waiting) for kind, waiting in closed if waiting]
