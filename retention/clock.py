"""The clock. `now` and `sure` are passed in everywhere; only assembly chooses the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Protocol

from retention.domain.trusted_time import SETTLE, Belief, Mark, begin, due_by, judge, tell


class Clock(Protocol):
    """A source of the time: aware, in UTC."""

    def now(self) -> datetime:
        """Return the time for acts and entries."""
        ...

    def sure(self) -> datetime:
        """Return the time that erasure by a deadline goes by: no later than two sources agree on (`trusted_time`)."""
        ...


def _wall() -> datetime:
    return datetime.now(UTC)


def _ticks() -> float:
    """Return seconds that nobody can set; where the system has such a clock, they count during sleep too."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SystemClock:
    """The machine's clock, as far as it can be trusted. Safe from many threads; `now` takes no lock."""

    def __init__(
        self,
        wall: Callable[[], datetime] = _wall,
        ticks: Callable[[], float] = _ticks,
        settle: timedelta = SETTLE,
    ) -> None:
        self._wall, self._ticks, self._settle = wall, ticks, settle
        self._lock = Lock()
        self._others: tuple[datetime, ...] = ()
        now = wall()
        self._seen = Belief(now, now), ticks()

    def now(self) -> datetime:
        (belief, at), wall = self._seen, self._wall()
        return tell(belief, timedelta(seconds=self._ticks() - at), wall)

    def sure(self) -> datetime:
        with self._lock:
            (belief, at), wall = self._seen, self._wall()
            ran = timedelta(seconds=self._ticks() - at)
            return due_by(belief, ran, wall, [each + ran for each in self._others])

    @property
    def belief(self) -> Belief:
        """The last judgement."""
        return self._seen[0]

    def begin(self, mark: Mark | None, others: Iterable[datetime]) -> Belief:
        """Begin anew, with what an earlier process was sure of and what other clocks say now."""
        with self._lock:
            self._others = tuple(others)
            self._seen = begin(self._wall(), self._others, mark, self._settle), self._ticks()
            return self._seen[0]

    def observe(self, others: Iterable[datetime] | None = None) -> Belief:
        """Judge again, with what other clocks say now; None: with what they said last."""
        with self._lock:
            (before, at), ticks, wall = self._seen, self._ticks(), self._wall()
            ran = timedelta(seconds=ticks - at)
            self._others = tuple(each + ran for each in self._others) if others is None else tuple(others)
            self._seen = judge(before, ran, wall, self._others, self._settle), ticks
            return self._seen[0]

    def wall(self) -> datetime:
        """Return what the machine's clock says, trusted or not."""
        return self._wall()


class DevelopmentClock:
    """The machine's clock moved by the number of seconds in a file; for rehearsals, never for service.

    The processes of one state folder share the file, so all of them move together. Moving it is intended: `sure` moves
    with it.
    """

    def __init__(self, offset_file: Path, machine: SystemClock | None = None) -> None:
        self._file = offset_file
        self.machine = machine or SystemClock()

    def now(self) -> datetime:
        return self.machine.now() + self._offset()

    def sure(self) -> datetime:
        return self.machine.sure() + self._offset()

    def set(self, now: datetime) -> None:
        """Move the clock to `now`."""
        seconds = (now - self.machine.now()).total_seconds()
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds!r}\n")
        fresh.replace(self._file)

    def _offset(self) -> timedelta:
        try:
            return timedelta(seconds=float(self._file.read_text()))
        except FileNotFoundError:
            return timedelta(0)
