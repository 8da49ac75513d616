"""The current time, judged from several sources, none of them believed alone (P4). Pure.

Two times are kept, both advanced by the monotonic clock, which nobody can set:
  sure   the time on which two sources agreed. Destruction by a deadline uses it, and nothing later.
  told   the time for everything else: entries, grants, tokens, uploads. It is this machine's clock, until that jumps
         while the process watches; then it is what the monotonic clock says.

Sources: this machine's clock; the monotonic clock since the last sure time; and, where a deployment has them, the
clocks of others (database server, storage account, witness), each only if it runs on another machine.

Rules:
- Sources agree when they are within SLACK of each other. While machine and monotonic clock agree, `sure` follows the
  machine's clock by at most DRIFT of what has passed: small steps cannot add up to a jump.
- When they disagree, the others are asked. One that agrees with the monotonic clock settles it: this machine's clock
  is wrong, and destruction goes on by the others. Otherwise the latest clock is never believed: the time of the
  second-latest is vouched for by two.
- With nobody else to ask, this machine's clock is believed once it has run evenly for as long as it jumped, at most
  `settle`. A machine that was off for a hundred days destroys again after `settle`, without help.
- At a start nothing has been watched: an absence of up to SHORT is believed, a longer one is a jump for `sure`. `told`
  is the machine's clock even so, because nothing contradicts it, and steps back with it at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

SLACK = timedelta(seconds=60)
SHORT = timedelta(hours=1)
DRIFT = 0.001
"""A share of the elapsed time; time services correct a clock by at most half of it."""
SETTLE = timedelta(hours=24)
NONE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Belief:
    """The belief at one moment; `gap` is how far this machine's clock was ahead of `sure` when it was found apart
    (negative: behind; zero while they agree), `settled` how long it has run evenly since."""

    told: datetime
    sure: datetime
    gap: timedelta = NONE
    settled: timedelta = NONE

    @property
    def is_apart(self) -> bool:
        """True if this machine's clock differs from the sure time."""
        return self.gap != NONE


@dataclass(frozen=True, slots=True)
class Mark:
    """The sure time of an earlier process, and how far it had settled."""

    sure: datetime
    gap: timedelta = NONE
    settled: timedelta = NONE


def begin(
    wall: datetime, others: Iterable[datetime], mark: Mark | None, settle: timedelta = SETTLE
) -> Belief:
    """Return what to believe at the start of a process; `mark` None: nothing was recorded here before."""
    others = list(others)
    if mark is None:
        return judge(Belief(wall, min(wall, *others) if others else wall), NONE, wall, others, settle)
    away = wall - mark.sure
    if -SLACK <= away <= SHORT and not others:
        return Belief(wall, wall)
    before = Belief(wall if away >= -SLACK else mark.sure, mark.sure)
    if mark.gap != NONE and abs(away - mark.gap) <= SHORT:
        before = Belief(before.told, before.sure, away, mark.settled)
    return judge(before, NONE, wall, others, settle)


def judge(
    before: Belief, ran: timedelta, wall: datetime, others: Iterable[datetime], settle: timedelta = SETTLE
) -> Belief:
    """Return what to believe now, `ran` (monotonic) after `before`, by this machine's clock (`wall`) and others'."""
    sure, others = before.sure + ran, list(others)
    apart = wall - sure
    if abs(apart) <= SLACK:
        pull = ran * DRIFT
        return Belief(wall, sure + max(-pull, min(pull, apart)))
    told = tell(before, ran, wall)
    if any(_agree(sure, each) for each in others):
        return Belief(sure, sure, apart)
    if others:
        latest, vouched = sorted((wall, *others), reverse=True)[:2]
        if vouched > sure + SLACK or _agree(latest, vouched):
            right = _agree(wall, vouched)
            return Belief(wall if right else vouched, vouched, NONE if right else wall - vouched)
        return Belief(told, sure, apart)
    steady = before.is_apart and abs(apart - before.gap) <= SLACK
    settled = before.settled + ran if steady else NONE
    if settled >= min(abs(apart), settle):
        return Belief(wall, wall)
    return Belief(told, sure, before.gap if steady else apart, settled)


def tell(before: Belief, ran: timedelta, wall: datetime) -> datetime:
    """Return the time for acts and entries now, `ran` after `before`, without asking others."""
    sure, told = before.sure + ran, before.told + ran
    if abs(wall - sure) <= SLACK:
        return wall
    unsure = told > sure + SLACK
    return wall if unsure and sure - SLACK <= wall <= told + SLACK else told


def due_by(before: Belief, ran: timedelta, wall: datetime, others: Iterable[datetime]) -> datetime:
    """Return the time for destruction now: the sure time, but never later than the second-latest of all sources."""
    sure = before.sure + ran
    return min(sure, sorted((wall, sure, *others), reverse=True)[1])


def _agree(one: datetime, other: datetime) -> bool:
    return abs(one - other) <= SLACK
