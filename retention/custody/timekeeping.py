"""Timekeeping: comparing the process's clock with others, and recording the sure time for the next start (P4).

`Timekeeper` keeps the trusted time:
- The clock's process asks the other clocks, judges (`trusted_time`) and records a mark every MARK_EVERY. If this
  machine's clock differs from the sure time it raises the alarm: a log line, an entry (at most one an hour, and one
  when it is over), and the mark, which the metric, doctor and `/readyz` report.
- Other processes follow: they take the mark's time when the clock's process knows better.
- Only clocks of other machines are asked: one on this machine, or behind a loopback address, is the same clock.
- A mark later than this process's sure time is never overwritten: an administrator confirmed it, or another machine
  knows better. It counts as one more source.
- The times of the log's entries are not a source. They only stand in where no mark was ever made.

`ClockSkew` measures how far this machine's clock is from the database server's, which all processes of a service share.
Each process writes its own times: entries, grants, claims, receipts. Two that differ contradict each other, although
each may be right by itself (`retention.domain.trusted_time` judges that, and what it lets be destroyed).
- Every process asks, every ASK_SECONDS. With a database file on this machine there is nothing to compare.
- A difference of more than NOTED is a log line, and another when it is over. If two processes differ by twice that, at
  least one of them says so.
- At more than MOST the process is not ready: no new caller should be sent to it.
- If the server cannot be asked nothing changes: the last difference stands.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import func, insert, select, update

from audit.entry import Action, Detail, Outcome
from audit.log.tables import audit_entries
from audit.times import from_microseconds, rfc3339
from retention.clock import Clock, SystemClock
from retention.custody.context import entry
from retention.domain.actor import CLOCK, Actor
from retention.domain.faults import Conflict, Unavailable
from retention.domain.trusted_time import NONE, SLACK, Belief, Mark
from retention.records.tables import trusted_time
from retention.records.unit_of_work import Reads, Records, Transaction

LOG = logging.getLogger(__name__)
ASK_SECONDS = 10.0
NOTED = timedelta(seconds=30)
MOST = timedelta(minutes=5)
METRIC = "casevault_clock_skew_seconds"


class ClockSkew:
    """The skew of one process's clock. Thread-safe. `wall` is this machine's clock, `there` the shared one (None: there
    is none)."""

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
        """This machine's clock minus the shared one; None while unknown."""

    def look(self) -> None:
        """Ask the shared clock, unless that was done a moment ago. Raises what asking raises."""
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
            LOG.warning("this machine's clock agrees with the database server's again")
        self._noted = far

    def _sentence(self, apart: timedelta) -> str:
        way = "ahead of" if apart > timedelta(0) else "behind"
        return f"this machine's clock is {abs(apart).total_seconds():.0f} s {way} the database server's"

    def require(self) -> None:
        """Raise Unavailable if the clocks are too far apart."""
        apart = self.apart
        if apart is not None and abs(apart) > MOST:
            raise Unavailable(f"{self._sentence(apart)}: set both by NTP", reason="clock-skew")

    def figures(self) -> Mapping[str, float]:
        """Return the difference in seconds under the metric's name, for an observer."""
        return {} if self.apart is None else {METRIC: abs(self.apart).total_seconds()}


MARK_EVERY = 30.0
ASK_EVERY, ASK_SOON = 60.0, 10.0
"""Seconds between two rounds of asking the others; ASK_SOON while this machine's clock is doubted."""
ENTRY_EVERY = 3600.0
Sources = Mapping[str, Callable[[], datetime | None]]


class Timekeeper:
    """The keeper of trusted time. `machine` is this machine's clock, `clock` the one that the service uses: the same,
    except in a rehearsal. `skew`, if given, is measured on the way."""

    def __init__(
        self,
        machine: SystemClock,
        clock: Clock,
        records: Records,
        sources: Sources,
        ticks: Callable[[], float] = time.monotonic,
        skew: ClockSkew | None = None,
    ) -> None:
        self._skew = skew
        self._machine, self._clock, self._records, self._sources = machine, clock, records, sources
        self._ticks = ticks
        self._lock = threading.Lock()
        self._asked, self._marked, self._entered = ticks(), -MARK_EVERY, -ENTRY_EVERY
        self._alarmed = self._in_log = False

    @property
    def belief(self) -> Belief:
        """The latest belief."""
        return self._machine.belief

    def wall(self) -> datetime:
        """Return what this machine's clock says, believed or not."""
        return self._machine.wall()

    def begin(self) -> Belief:
        """Form the first belief, once at the start of a process."""
        with self._records.read() as reads:
            mark = read_mark(reads) or (self._newest_entry(reads) if self._clock is self._machine else None)
        self._alarmed = self._in_log = mark is not None and mark.gap != NONE
        return self._machine.begin(mark, self.ask().values())

    def keep(self) -> Belief:
        """Judge what time it is, record it and raise the alarm if need be. Call it often: it limits its own asking."""
        self._compare()
        with self._lock:
            before, ticks = self._machine.belief, self._ticks()
            belief = self._machine.observe()
            if ticks - self._asked >= (ASK_SOON if belief.is_apart else ASK_EVERY):
                self._asked, belief = ticks, self._machine.observe(self.ask().values())
            belief = self._hear_mark(belief)
            changed = belief.is_apart != before.is_apart or belief.is_apart != self._alarmed
            if changed or ticks - self._marked >= MARK_EVERY:
                self._marked = ticks
                self._records.write(lambda tx: _write_mark(tx, belief, force=changed and not belief.is_apart))
            self._alarm(before, belief, ticks)
            return belief

    def follow(self) -> Belief:
        """Judge the time in a process that does not keep it: if its own clock is doubted, look at the mark."""
        self._compare()
        return self._hear_mark(self._machine.observe())

    def follow_until(self, stop: threading.Event) -> None:
        """Follow, every ASK_SOON seconds."""
        while not stop.wait(ASK_SOON):
            try:
                self.follow()
            except Exception as error:  # whatever it is: this process keeps its belief
                LOG.warning("the trusted time cannot be looked up: %s", type(error).__name__)

    def ask(self) -> dict[str, datetime]:
        """Return the times of the other clocks, without those that do not respond."""
        times = {}
        for name, asked in self._sources.items():
            try:
                moment = asked()
            except Exception as error:  # whatever it is: go on without this source
                LOG.warning("%s cannot be asked the time: %s", name, type(error).__name__)
                continue
            if moment is not None:
                times[name] = moment
        return times

    def confirm(self, actor: Actor) -> datetime:
        """Believe this machine's clock as a person confirms it: * mark + entry. Conflict if other clocks differ."""
        wall = self._machine.wall()
        for name, moment in self.ask().items():
            if abs(moment - wall) > SLACK:
                raise Conflict(
                    f"{name} says {rfc3339(moment)}, this machine {rfc3339(wall)}: set the clock that is wrong",
                    reason="clocks-differ",
                )
        with self._records.read() as reads:
            before = read_mark(reads)
        moved: dict[str, Detail] = {
            "sure": rfc3339(wall),
            "moved_seconds": _seconds(wall - before.sure) if before else 0,
        }
        said = entry(actor, Action.TIME_CONFIRMED, self._clock.now(), details=moved)

        def work(tx: Transaction) -> None:
            _write_mark(tx, Belief(wall, wall), force=True)
            tx.audit(said)

        self._records.write(work)
        self._machine.begin(Mark(wall), ())
        return wall

    def _compare(self) -> None:
        if self._skew is None:
            return
        try:
            self._skew.look()
        except Exception as error:  # whatever it is: nothing new is known
            LOG.warning("the database server cannot be asked the time: %s", type(error).__name__)

    def _hear_mark(self, belief: Belief) -> Belief:
        if not belief.is_apart:
            return belief
        with self._records.read() as reads:
            mark = read_mark(reads)
        if mark is None or mark.gap != NONE or abs(mark.sure - belief.sure) <= SLACK:
            return belief  # nothing new to this process
        return self._machine.observe([*self.ask().values(), mark.sure])

    def _newest_entry(self, reads: Reads) -> Mark | None:
        newest = reads.execute(select(func.max(audit_entries.c.at_us))).scalar()
        return None if newest is None else Mark(from_microseconds(newest))

    def _alarm(self, before: Belief, belief: Belief, ticks: float) -> None:
        if belief.is_apart and not self._alarmed:
            LOG.error(
                "this machine's clock is %d seconds ahead of what is sure: destruction by deadline goes by %s",
                _seconds(belief.gap),
                rfc3339(belief.sure),
            )
            if ticks - self._entered >= ENTRY_EVERY:
                self._entered, self._in_log = ticks, True
                self._enter(Action.TIME_DOUBTED, belief, _seconds(belief.gap), Outcome.FAILED)
        if not belief.is_apart and self._alarmed:
            LOG.warning("the time is sure again: %s", rfc3339(belief.sure))
            if self._in_log:
                self._in_log = False
                self._enter(Action.TIME_TRUSTED, belief, _seconds(belief.sure - before.sure), Outcome.SUCCESS)
        self._alarmed = belief.is_apart

    def _enter(self, action: Action, belief: Belief, seconds: int, outcome: Outcome) -> None:
        name = "ahead_seconds" if action is Action.TIME_DOUBTED else "moved_seconds"
        details: dict[str, Detail] = {"sure": rfc3339(belief.sure), name: seconds}
        noted = entry(CLOCK, action, self._clock.now(), outcome=outcome, details=details)
        self._records.write(lambda tx: tx.audit(noted))


def read_mark(reads: Reads) -> Mark | None:
    """Return the latest recorded mark; None before there is one."""
    row = reads.execute(select(trusted_time)).first()
    if row is None:
        return None
    return Mark(row.sure_at, timedelta(microseconds=row.gap_us), timedelta(microseconds=row.settled_us))


def doubt(mark: Mark | None) -> str | None:
    """Return a sentence on what is wrong with the keeper's clock; None if nothing is."""
    if mark is None or mark.gap == NONE:
        return None
    way = "ahead of" if mark.gap > NONE else "behind"
    apart = f"the clock is {_seconds(abs(mark.gap))} s {way} what is sure"
    return f"{apart}; destruction by deadline goes by {rfc3339(mark.sure)}"


def _write_mark(tx: Transaction, belief: Belief, *, force: bool) -> None:
    row = {
        "sure_at": belief.sure,
        "gap_us": belief.gap // timedelta(microseconds=1),
        "settled_us": belief.settled // timedelta(microseconds=1),
    }
    known = read_mark(tx)
    if known is None:
        tx.change(insert(trusted_time).values(id=1, **row))
    elif force or known.sure <= belief.sure + SLACK:
        tx.change(update(trusted_time).values(row))


def _seconds(time: timedelta) -> int:
    return round(time.total_seconds())
