"""Keeping the process's clock honest: others' clocks are asked, and what is sure is recorded for the next start (P4).

- The clock's process keeps: it asks, judges (`trusted_time`) and records a mark every MARK_EVERY. Where this machine's
  clock is not what is sure it raises the alarm: a line in the log, an entry (one an hour at most, and one when it is
  over), and the mark, from which the metric, doctor and `/readyz` tell.
- Other processes follow: theirs is told by the mark when the keeper knows better.
- Only clocks of other machines are asked: one on this machine, or behind a loopback address, is the same clock.
- A mark that is later than what this process is sure of is never written over: an administrator confirmed it, or
  another machine knows better. It counts as one more source.
- Moments of the log's entries are no source. They only stand in where no mark was ever made.

How far this machine's clock is from the one that all processes of a service share: the database server's.

Each process writes its own moments: entries, grants, claims, receipts. Two that are apart contradict each other, though
either may be right by itself (`retention.domain.trusted_time` judges that, and what is destroyed by it).

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


MARK_EVERY = 30.0
ASK_EVERY, ASK_SOON = 60.0, 10.0
"""Seconds between two questions to the others; ASK_SOON while this machine's clock is doubted."""
ENTRY_EVERY = 3600.0
Sources = Mapping[str, Callable[[], datetime | None]]


class Timekeeper:
    """`machine` is this machine's clock, `clock` what the service goes by: the same one, but in a rehearsal. `skew`:
    the former's distance from the shared clock; it is looked at on the way."""

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
        """What was judged last."""
        return self._machine.belief

    def wall(self) -> datetime:
        """What this machine's clock says, believed or not."""
        return self._machine.wall()

    def begin(self) -> Belief:
        """Once, at the start of a process."""
        with self._records.read() as reads:
            mark = read_mark(reads) or (self._newest_entry(reads) if self._clock is self._machine else None)
        self._alarmed = self._in_log = mark is not None and mark.gap != NONE
        return self._machine.begin(mark, self.ask().values())

    def keep(self) -> Belief:
        """Judge what time it is, and see to what follows from it. Often: it asks nobody more often than it should."""
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
        """What a process does that does not keep: look at the mark where its own clock is doubted."""
        self._compare()
        return self._hear_mark(self._machine.observe())

    def follow_until(self, stop: threading.Event) -> None:
        """Follow, every ASK_SOON seconds."""
        while not stop.wait(ASK_SOON):
            try:
                self.follow()
            except Exception as error:  # whatever it is: this process goes on by what it believes
                LOG.warning("what time it is cannot be looked up: %s", type(error).__name__)

    def ask(self) -> dict[str, datetime]:
        """What the others say; without those that do not answer."""
        told = {}
        for name, asked in self._sources.items():
            try:
                moment = asked()
            except Exception as error:  # whatever it is: a source that fails is a source less
                LOG.warning("%s does not tell the time: %s", name, type(error).__name__)
                continue
            if moment is not None:
                told[name] = moment
        return told

    def confirm(self, actor: Actor) -> datetime:
        """Have this machine's clock believed because a person says so: * mark + entry. Conflict: others contradict."""
        wall = self._machine.wall()
        for name, moment in self.ask().items():
            if abs(moment - wall) > SLACK:
                raise Conflict(
                    f"{name} says {rfc3339(moment)} and this machine {rfc3339(wall)}: set the clock that is wrong",
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
            LOG.warning("the database server does not tell the time: %s", type(error).__name__)

    def _hear_mark(self, belief: Belief) -> Belief:
        if not belief.is_apart:
            return belief
        with self._records.read() as reads:
            mark = read_mark(reads)
        if mark is None or mark.gap != NONE or abs(mark.sure - belief.sure) <= SLACK:
            return belief  # nothing that this process does not know
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
            LOG.warning("what time it is is sure again: %s", rfc3339(belief.sure))
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
    """What was recorded last; None before anything was."""
    row = reads.execute(select(trusted_time)).first()
    if row is None:
        return None
    return Mark(row.sure_at, timedelta(microseconds=row.gap_us), timedelta(microseconds=row.settled_us))


def doubt(mark: Mark | None) -> str | None:
    """What is wrong with the keeper's clock, for people; None when nothing is."""
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
