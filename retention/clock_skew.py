"""How far this machine's clock is from the one that all processes of a service share: the database server's.

Each process writes its own moments: entries, grants, claims, receipts. Two that are apart contradict each other, though
either may be right by itself (`retention.trusted_time` judges that, and what is destroyed by it).

- Every process asks, once in ASK_SECONDS. Where the database is a file of this machine there is nothing to compare.
- Apart by more than NOTED is a line in the log, and another when it is over. Of two processes that are apart by twice
  that, one at least says so.
- Apart by more than MOST, the process is not ready: no new caller ought to be sent to it.
- That it cannot be asked changes nothing: the last answer stands.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from retention.errors import Unavailable

LOG = logging.getLogger(__name__)
ASK_SECONDS = 10.0
NOTED = timedelta(seconds=30)
MOST = timedelta(minutes=5)
METRIC = "casevault_clock_skew_seconds"


class ClockSkew:
    """Of one process. Thread-safe. `wall` is this machine's clock, `there` the shared one; None where there is none."""

    def __init__(
        self,
        wall: Callable[[], datetime],
        there: Callable[[], datetime | None],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._there, self._ticks = wall, there, ticks
        self._asking = threading.Lock()
        self._asked = -ASK_SECONDS
        self._noted = False
        self.apart: timedelta | None = None
        """This machine's clock less the shared one; None while nothing is known."""

    def look(self) -> None:
        """Ask, unless somebody did a moment ago. Raises what asking raises."""
        if not self._asking.acquire(blocking=False):
            return
        try:
            if self._ticks() - self._asked < ASK_SECONDS:
                return
            self._asked = self._ticks()
            before = self._wall()
            there = self._there()
            if there is not None:
                self._judge(before + (self._wall() - before) / 2 - there)
        finally:
            self._asking.release()

    def _judge(self, apart: timedelta) -> None:
        self.apart = apart
        far = abs(apart) > NOTED
        if far and not self._noted:
            LOG.error("%s: set both by NTP", self._sentence(apart))
        if self._noted and not far:
            LOG.warning("this machine's clock is as the database server's again")
        self._noted = far

    def _sentence(self, apart: timedelta) -> str:
        way = "ahead of" if apart > timedelta(0) else "behind"
        return f"this machine's clock is {abs(apart).total_seconds():.0f} s {way} the database server's"

    def require(self) -> None:
        """Unavailable when the clocks are too far apart."""
        apart = self.apart
        if apart is not None and abs(apart) > MOST:
            raise Unavailable(f"{self._sentence(apart)}: set both by NTP", reason="clock-skew")

    def figures(self) -> Mapping[str, float]:
        """For an observer: how far apart, in seconds, under the metric's name."""
        return {} if self.apart is None else {METRIC: abs(self.apart).total_seconds()}
