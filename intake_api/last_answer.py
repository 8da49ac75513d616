"""An answer that is found out once for all who ask at about the same time.

- Of many who ask at once one finds out, and the others wait for what comes of it, `patience` seconds at most.
- The answer counts for `seconds` from when it was found, whatever it says.
- An error is the asker's who met it, and is not kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LastAnswer(Generic[T]):
    """`now` tells seconds that only ever grow."""

    def __init__(
        self, seconds: float, patience: float = 10, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._patience = patience
        self._now = now
        self._finding = threading.Lock()
        self._found: tuple[float, T] | None = None

    def get(self, find_out: Callable[[], T]) -> T | None:
        """The last answer, or what `find_out` gives; None when somebody has been finding out for too long."""
        if (known := self._fresh()) is not None:
            return known[1]
        if not self._finding.acquire(timeout=self._patience):
            return None
        try:
            known = self._fresh()  # somebody may have found it meanwhile
            if known is None:
                answer = find_out()
                self._found = known = self._now(), answer
            return known[1]
        finally:
            self._finding.release()

    def _fresh(self) -> tuple[float, T] | None:
        found = self._found
        return found if found is not None and self._now() - found[0] < self._seconds else None
