"""Which bundles should be gone and are not, told from the leaves alone (P4, P9). Pure.

A second, independent reading of the deadline rule: it shares no code with the one that erases.
- A case's deadline is 90 days of 86,400 seconds after it closed, as `closed_at` says; reopening cancels it.
- A bundle of a case has the case's deadline, also when it arrived after the close.
- A bundle moved from one case to another keeps the deadline it had if that is earlier than the new case's.
- A bundle without a case has its receipt, or until it is complete its creation, plus 90 days; once a case claims
  it, the case's clock alone counts.
- Refused and failed acts change nothing. Data is gone at its deadline, not after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from audit.entry import Action, Outcome
from audit.times import parse_rfc3339

KEEP_AT_MOST = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Overdue:
    """A bundle that outlived its deadline; `case` is None for one no case has claimed."""

    bundle: str
    case: str | None
    deadline: datetime


@dataclass(slots=True)
class _Bundle:
    case: str | None
    since: datetime
    held_from_before: datetime | None = None  # the deadline it brought from the case it was moved from


@dataclass(slots=True)
class Holdings:
    """The log as far as it was taken, leaf by leaf in its order. Memory grows with living bundles, not with entries."""

    closed: dict[str, datetime] = field(default_factory=dict)
    bundles: dict[str, _Bundle] = field(default_factory=dict)

    def take(self, leaf: Mapping[str, Any]) -> None:
        """Take the next leaf."""
        replay = _REPLAY.get(leaf["action"])
        if replay is not None and leaf["outcome"] == Outcome.SUCCESS:
            replay(self, leaf)

    def overdue(self, now: datetime) -> list[Overdue]:
        """What should be gone by `now` and is not; the earliest deadline comes first."""
        late = []
        for name, bundle in self.bundles.items():
            deadline = self.deadline(bundle)
            if deadline is not None and deadline <= now:
                late.append(Overdue(name, bundle.case, deadline))
        return sorted(late, key=lambda item: (item.deadline, item.bundle))

    def deadline(self, bundle: _Bundle) -> datetime | None:
        if bundle.case is None:
            return bundle.since + KEEP_AT_MOST
        closed = self.closed.get(bundle.case)
        own = None if closed is None else closed + KEEP_AT_MOST
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
    state.bundles[leaf["bundle"]] = _Bundle(leaf.get("case"), parse_rfc3339(leaf["at"]))


def _bundle_received(state: Holdings, leaf: Mapping[str, Any]) -> None:
    received = parse_rfc3339(leaf["details"]["received_at"])
    known = state.bundles.setdefault(leaf["bundle"], _Bundle(leaf.get("case"), received))
    known.since = received


def _bundle_taken(state: Holdings, leaf: Mapping[str, Any]) -> None:
    bundle = state.bundles.get(leaf["bundle"])
    if bundle is not None and bundle.case != leaf["case"]:
        # From no case: that clock ends. From another case: the earlier of the two deadlines stays.
        bundle.held_from_before = None if bundle.case is None else state.deadline(bundle)
        bundle.case = leaf["case"]


def _bundle_erased(state: Holdings, leaf: Mapping[str, Any]) -> None:
    state.bundles.pop(leaf["bundle"], None)


_REPLAY: dict[str, Callable[[Holdings, Mapping[str, Any]], None]] = {
    Action.CASE_CLOSED: _case_closed,
    Action.CASE_REOPENED: _case_reopened,
    Action.UPLOAD_CREATED: _upload_created,
    Action.BUNDLE_RECEIVED: _bundle_received,
    Action.BUNDLE_CLAIMED: _bundle_taken,
    Action.BUNDLE_MOVED: _bundle_taken,
    Action.BUNDLE_ERASED: _bundle_erased,
}
