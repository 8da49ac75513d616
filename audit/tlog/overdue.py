"""The bundles that outlived their deadline, from the leaves alone (P4, P9). Pure.

A second, independent reading of the deadline rules: it shares no code with the ones that erase.
- A case's deadline is 90 days of 86,400 seconds after it closed, as `closed_at` says; reopening cancels it.
- A bundle of a case has the case's deadline, also when it arrived after the close.
- A bundle moved from one case to another keeps the deadline it had if that is earlier than the new case's.
- A bundle without a case has its receipt, or until it is complete its creation, plus 90 days; once a case claims
  it, the case's clock alone counts.
- An unfinished upload is gone a lifetime after the last entry that added bytes to it, at the longest a fixed time after
  its creation; an entry while there are none yet counts as well. It is finished when the log covers all bytes, a
  partial upload when a final one is made of it.
- The rules in force at each moment are in the log (`rules.set`). They never extend the promised 90 days.
  An upload with no entry under any rules, from an older version, has no expiry here.
- Refused and failed acts change nothing. Data is gone at its deadline, not after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from audit.entry import Action, Outcome
from audit.times import from_microseconds, parse_rfc3339, to_microseconds
from audit.tlog.kept import MOMENT, Codec, Keep, in_memory, packed_moment, unpacked_moment

KEEP_AT_MOST = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Overdue:
    """A bundle that outlived its deadline; `case` is None for an unclaimed one."""

    bundle: str
    case: str | None
    deadline: datetime


@dataclass(slots=True)
class _Bundle:
    case: str | None
    since: datetime
    created: datetime
    partial: bool = False
    held_from_before: datetime | None = None  # the deadline it brought from the case it was moved from
    expires: datetime | None = None  # while it is unfinished

    def packed(self) -> list[Any]:
        held, expires = packed_moment(self.held_from_before), packed_moment(self.expires)
        since, created = to_microseconds(self.since), to_microseconds(self.created)
        return [self.case, since, created, self.partial, held, expires]

    @classmethod
    def unpacked(cls, packed: list[Any]) -> _Bundle:
        case, since, created, partial, held, expires = packed
        times = from_microseconds(since), from_microseconds(created)
        return cls(case, *times, partial, unpacked_moment(held), unpacked_moment(expires))


_BUNDLE = Codec(_Bundle.packed, _Bundle.unpacked)


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules in force, as far as they count here."""

    keep: timedelta = KEEP_AT_MOST
    upload: timedelta | None = None
    upload_longest: timedelta | None = None

    def expiry(self, created: datetime, told: datetime) -> datetime | None:
        known = [
            at + most
            for at, most in ((told, self.upload), (created, self.upload_longest))
            if most is not None
        ]
        return min(known, default=None)


class Holdings:
    """The bundles held, by the leaves taken so far, in order. What is kept grows with living bundles and closed cases,
    not with entries."""

    def __init__(self, keep: Keep = in_memory) -> None:
        self.closed: MutableMapping[str | None, datetime] = keep(MOMENT)
        self.bundles: MutableMapping[str | None, _Bundle] = keep(_BUNDLE)
        self.rules = _Rules()

    def take(self, leaf: Mapping[str, Any]) -> None:
        """Take the next leaf."""
        replay = _REPLAY.get(leaf["action"])
        if replay is not None and leaf["outcome"] == Outcome.SUCCESS:
            replay(self, leaf)

    def overdue(self, now: datetime) -> list[Overdue]:
        """List what should be gone by `now` and is not; the earliest deadline comes first."""
        late = []
        for name, bundle in self.bundles.items():
            deadline = self.deadline(bundle)
            if deadline is not None and deadline <= now:
                late.append(Overdue(str(name), bundle.case, deadline))
        return sorted(late, key=lambda item: (item.deadline, item.bundle))

    def deadline(self, bundle: _Bundle) -> datetime | None:
        """Return the moment by which a bundle must be gone, finished or not."""
        known = [at for at in (self.kept_until(bundle), bundle.expires) if at is not None]
        return min(known, default=None)

    def kept_until(self, bundle: _Bundle) -> datetime | None:
        """Return the moment by which a bundle must be gone if it is finished."""
        if bundle.case is None:
            return bundle.since + self.rules.keep
        closed = self.closed.get(bundle.case)
        own = None if closed is None else closed + self.rules.keep
        known = [deadline for deadline in (own, bundle.held_from_before) if deadline is not None]
        return min(known, default=None)


def overdue(leaves: Iterable[Mapping[str, Any]], now: datetime) -> list[Overdue]:
    """Replay the parsed leaves, in order; the earliest deadline comes first."""
    holdings = Holdings()
    for leaf in leaves:
        holdings.take(leaf)
    return holdings.overdue(now)


def _case_closed(state: Holdings, leaf: Mapping[str, Any]) -> None:
    state.closed[leaf["case"]] = parse_rfc3339(leaf["details"]["closed_at"])


def _case_reopened(state: Holdings, leaf: Mapping[str, Any]) -> None:
    state.closed.pop(leaf["case"], None)


def _upload_created(state: Holdings, leaf: Mapping[str, Any]) -> None:
    at, details = parse_rfc3339(leaf["at"]), leaf.get("details", {})
    made = _Bundle(leaf.get("case"), at, at, partial=details.get("type") == "partial")
    made.expires = state.rules.expiry(at, at)
    state.bundles[leaf["bundle"]] = made
    for used in details.get("partials", ()):
        if used in state.bundles:
            state.bundles[used].expires = None


def _upload_continued(state: Holdings, leaf: Mapping[str, Any]) -> None:
    bundle = state.bundles.get(leaf["bundle"])
    if bundle is None:
        return
    _place(state, bundle, leaf)
    details = leaf.get("details", {})
    to = details.get("to")
    if to is not None and to == details.get("of") and not bundle.partial:
        bundle.expires = None
    elif "staged" in details or to == 0 or (to is not None and to > details.get("from", 0)):
        bundle.expires = state.rules.expiry(bundle.created, parse_rfc3339(leaf["at"]))


def _bundle_received(state: Holdings, leaf: Mapping[str, Any]) -> None:
    received = parse_rfc3339(leaf["details"]["received_at"])
    known = state.bundles.setdefault(leaf["bundle"], _Bundle(leaf.get("case"), received, received))
    _place(state, known, leaf)
    known.since = received
    if not known.partial:
        known.expires = None


def _bundle_taken(state: Holdings, leaf: Mapping[str, Any]) -> None:
    bundle = state.bundles.get(leaf["bundle"])
    if bundle is not None:
        _place(state, bundle, leaf)


def _place(state: Holdings, bundle: _Bundle, leaf: Mapping[str, Any]) -> None:
    """Put the bundle in the case that the entry names. From no case: that clock ends. From another case: the earlier of
    the two deadlines stays."""
    case = leaf.get("case")
    if case is not None and case != bundle.case:
        bundle.held_from_before = None if bundle.case is None else state.kept_until(bundle)
        bundle.case = case


def _bundle_erased(state: Holdings, leaf: Mapping[str, Any]) -> None:
    state.bundles.pop(leaf["bundle"], None)


def _rules_set(state: Holdings, leaf: Mapping[str, Any]) -> None:
    told = {
        name: timedelta(seconds=value)
        for name, value in leaf.get("details", {}).items()
        if name.endswith("_seconds") and isinstance(value, int)
    }
    state.rules = _Rules(
        min(KEEP_AT_MOST, told.get("retention_seconds", KEEP_AT_MOST)),
        told.get("upload_seconds"),
        told.get("upload_longest_seconds"),
    )


_REPLAY: dict[str, Callable[[Holdings, Mapping[str, Any]], None]] = {
    Action.CASE_CLOSED: _case_closed,
    Action.CASE_REOPENED: _case_reopened,
    Action.RULES_SET: _rules_set,
    Action.UPLOAD_CREATED: _upload_created,
    Action.UPLOAD_CONTINUED: _upload_continued,
    Action.BUNDLE_RECEIVED: _bundle_received,
    Action.BUNDLE_CLAIMED: _bundle_taken,
    Action.BUNDLE_MOVED: _bundle_taken,
    Action.BUNDLE_ERASED: _bundle_erased,
}
