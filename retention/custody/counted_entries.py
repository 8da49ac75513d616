"""Bounded entries for a caller's repeated acts, so that nobody can fill the log (P3).

Rules:
- Refusals, looks and questions to the log are counted; an act that succeeded always has an entry of its own.
- The first of a kind (who, what, how it ended, about what) is an entry at once, durable before its caller gets a
  response.
- Those that follow within the window are counted. When the window is over, one entry gives their number, with the times
  and particulars of the first and the last.
- A caller has at most `most_each` kinds in a window. Any beyond are counted together, for that caller alone.
- All callers together have at most `most` kinds. Any beyond are counted together for all the rest: a crowd cannot fill
  the memory, and takes nothing from a caller that already has a place.
- `flush` writes the windows that are over: called by a timer, and for all that is left when a process stops. A killed
  process loses the numbers of its open windows; the first of each kind is in the log.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from audit.entry import SALT_BYTES, Action, Detail, Entry
from audit.times import rfc3339
from retention.domain.ids import Kind, new_id
from retention.records.unit_of_work import Records

MOST, MOST_EACH = 4096, 32
MOST_STRANGERS = 256
MOST_LOOKS, MOST_LOOKED_AT = 8192, 128
"""Things looked at within a window that have an entry each, for all callers together and for one of them."""
_NUMBERS = frozenset({"count", "entries"})
"""Details that differ between acts of one kind: how many followed the first, how many entries a question found."""
ASKED = "asked_"
"""What the names of a question's conditions begin with, in the particulars of its entry."""
MANY = "(many)"
_EVERYBODY = object()


@dataclass(slots=True)
class _Counted:
    """One kind in an open window. `entered`: its first entry is durable."""

    entered: bool = False
    waiting: int = 0
    earliest: Entry | None = None
    latest: Entry | None = None


@dataclass(slots=True)
class _Window:
    """One caller's acts since the window began."""

    since: datetime
    number: int = 0
    kinds: dict[Hashable, _Counted] = field(default_factory=dict)


Over = Sequence[tuple[Hashable, _Window]]


class Counted:
    """A thread-safe counter, one per process and class of callers.

    `past_each` makes the entry to count in place of one beyond its caller's kinds, `past_all` in place of one beyond
    everybody's. `by`: kinds differ by the particulars whose names begin so, too: `ip`, or `asked_` for questions.
    """

    def __init__(
        self,
        window: timedelta,
        *,
        past_each: Callable[[Entry], Entry],
        past_all: Callable[[Entry], Entry],
        most: int = MOST,
        most_each: int = MOST_EACH,
        by: str | None = None,
    ) -> None:
        self.window = window
        self._past_each, self._past_all = past_each, past_all
        self._most, self._most_each, self._by = most, most_each, by
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._open: dict[Hashable, _Window] = {}
        self._size = 0

    def note(self, records: Records, entry: Entry, caller: str) -> int:
        """Enter or count `entry`; return how many this caller's window holds now, 0 if the caller has none of its own.

        Raises what the write of an entry raises: then nothing was entered, and the caller must not get a response.
        """
        if self._any_over(entry.at):
            self.flush(records, entry.at)
        with self._lock:
            window, counted, entry, own = self._find(entry, caller)
            window.number += 1
            number, first = window.number, not counted.entered
            if not first:
                counted.waiting += 1
                counted.earliest, counted.latest = counted.earliest or entry, entry
        if first:
            records.write(lambda tx: tx.audit(entry))
            counted.entered = True
        return number if own else 0

    def flush(self, records: Records, now: datetime, *, everything: bool = False) -> int:
        """Write the counts of windows that are over (`everything`: the open ones too); return how many entries.

        Of several calls at once one writes and the others wait: after a flush the process may end.
        """
        with self._writing:
            with self._lock:
                over = self._take(now, everything=everything)
            counted = [each for _, window in over for each in window.kinds.values() if each.waiting]
            numbers = [_number(each, now) for each in counted]
            if not numbers:
                return 0
            try:
                records.write(lambda tx: tx.audit(*numbers))
            except BaseException:
                self._give_back(over)
                raise
            return len(numbers)

    def _find(self, entry: Entry, caller: str) -> tuple[_Window, _Counted, Entry, bool]:
        """Return where the entry is counted, as what, and whether in a window of the caller's own."""
        for made, most in ((entry, self._most_each), (self._past_each(entry), 2 * self._most_each)):
            window, kind = self._open.get(caller), self._kind(made)
            if window is not None and (counted := window.kinds.get(kind)) is not None:
                return window, counted, made, True
            if self._size < self._most and (window is None or len(window.kinds) < most):
                return *self._begin(caller, kind, made.at), made, True
        made = self._past_all(entry)
        return *self._begin(_EVERYBODY, self._kind(made), made.at), made, False

    def _begin(self, key: Hashable, kind: Hashable, now: datetime) -> tuple[_Window, _Counted]:
        window = self._open.setdefault(key, _Window(now))
        if kind not in window.kinds:
            window.kinds[kind] = _Counted()
            self._size += 1
        return window, window.kinds[kind]

    def _kind(self, entry: Entry) -> Hashable:
        said = tuple(
            sorted((name, str(value)) for name, value in entry.details.items() if name not in _NUMBERS)
        )
        about = (entry.tenant, entry.case, entry.bundle, entry.subject)
        beside = entry.particulars.items() if self._by is not None else ()
        differing = tuple(sorted(each for each in beside if each[0].startswith(self._by or "")))
        return entry.actor, entry.action, entry.outcome, entry.reason, about, said, differing

    def _any_over(self, now: datetime) -> bool:
        with self._lock:
            oldest = next(iter(self._open.values()), None)
            return oldest is not None and self._is_over(oldest, now)

    def _is_over(self, window: _Window, now: datetime) -> bool:
        """Tell whether the window is over. A clock set back ends it too: better an entry too many than a window that
        never ends. A smaller step back is only callers that overtook each other."""
        return abs(now - window.since) >= self.window

    def _take(self, now: datetime, *, everything: bool = False) -> Over:
        """Take out the windows that are over."""
        over = []
        for key, window in self._open.items():  # in the order in which they began
            if not everything and not self._is_over(window, now):
                break
            over.append((key, window))
        for key, window in over:
            del self._open[key]
            self._size -= len(window.kinds)
        return over

    def _give_back(self, over: Over) -> None:
        """Put back windows that could not be written: they are still over, and tried again with the next."""
        with self._lock:
            for key, window in over:
                window.kinds = {kind: each for kind, each in window.kinds.items() if each.waiting}
                if window.kinds:
                    self._open = {object() if key in self._open else key: window, **self._open}
                    self._size += len(window.kinds)


def _number(counted: _Counted, now: datetime) -> Entry:
    """Make the entry that says how many followed the first."""
    first, last = counted.earliest, counted.latest
    if first is None or last is None:
        raise ValueError("nothing was counted")
    number: dict[str, Detail] = {
        "count": counted.waiting,
        "first": rfc3339(first.at),
        "last": rfc3339(last.at),
    }
    beside = dict(first.particulars.items() & last.particulars.items())
    for when, each in (("first", first), ("last", last)):
        beside |= {f"{when}_{name}": text for name, text in each.particulars.items() if name not in beside}
    same = {name: value for name, value in first.details.items() if name not in _NUMBERS}
    return _anew(first, at=now, details={**same, **number}, particulars=beside)


def _anew(entry: Entry, **changes: Any) -> Entry:
    """Copy `entry` with `changes`, as an entry of its own."""
    return replace(entry, **{"id": new_id(Kind.ENTRY), "salt": secrets.token_bytes(SALT_BYTES), **changes})


_NOTHING: dict[str, None] = dict.fromkeys(("tenant", "case", "bundle", "subject"))


def _many_refusals(entry: Entry) -> Entry:
    """Make the entry that counts one caller's further kinds of refusals, with what the first and last asked for."""
    return _anew(entry, action=Action.CALLER_REFUSED, reason="many-refusals", details={}, **_NOTHING)


def _many_callers(entry: Entry) -> Entry:
    """Make the entry that counts further callers together, by what they did and why it was refused."""
    return _anew(entry, actor="act_unknown", actor_kind="unknown", particulars={"ip": MANY}, **_NOTHING)


def _many_addresses(entry: Entry) -> Entry:
    return _anew(entry, particulars={**entry.particulars, "ip": MANY})


def _many_looks(entry: Entry) -> Entry:
    """Make the entry that counts the further things one caller looked at, with the first and the last of them."""
    return _anew(entry, action=Action.RECORDS_LISTED, details={"of": "many"}, reason=None, **_NOTHING)


def _many_questions(entry: Entry) -> Entry:
    """Make the entry that counts one caller's further questions to the log, with the first and the last of them."""
    return _anew(entry, details={"report": "many"}, particulars=_asked_first(entry))


def _asked_first(entry: Entry) -> dict[str, str]:
    """Return the particulars with the conditions under one name, so that differing questions are of one kind."""
    asked = {name: text for name, text in entry.particulars.items() if name.startswith(ASKED)}
    rest = {name: text for name, text in entry.particulars.items() if name not in asked}
    said = "&".join(f"{name.removeprefix(ASKED)}={text}" for name, text in sorted(asked.items()))
    return {**rest, "asked": said} if said else rest


class Counts:
    """A process's counters, one per class of callers, so that none takes room from another."""

    def __init__(self) -> None:
        self.refusals = Counted(timedelta(minutes=1), past_each=_many_refusals, past_all=_many_callers)
        self.looks = Counted(
            timedelta(minutes=10),
            past_each=_many_looks,
            past_all=_many_callers,
            most=MOST_LOOKS,
            most_each=MOST_LOOKED_AT,
        )
        self.questions = Counted(
            timedelta(minutes=10),
            past_each=_many_questions,
            past_all=_many_callers,
            most=MOST_LOOKS,
            most_each=MOST_LOOKED_AT,
            by=ASKED,
        )
        self.strangers = Counted(
            timedelta(minutes=1),
            past_each=_many_addresses,
            past_all=_many_callers,
            most=MOST_STRANGERS,
            by="ip",
        )
        self.link_refusals = Counted(
            timedelta(minutes=1),
            past_each=_many_addresses,
            past_all=_many_callers,
            most=MOST_STRANGERS,
            by="ip",
        )
        self.link_uses = Counted(
            timedelta(hours=1), past_each=_many_addresses, past_all=_many_callers, by="ip"
        )

    def flush(self, records: Records, now: datetime, *, everything: bool = False) -> int:
        """Write the windows that are over, or everything counted; return how many entries."""
        return sum(each.flush(records, now, everything=everything) for each in vars(self).values())
