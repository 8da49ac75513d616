"""The approvals that grants rest on, from the leaves alone (P2). Pure.

Part of `audit.tlog.unaccounted`: a second, independent reading of the rules, without the code that decides.
- A policy (`approval-policy.set`) counts from its entry on, for its case, or for its customer where its case has none
  or `inherited`: `see` asks for nothing, `own-cases` for a grant that is long or not the owner's, anything else for
  each.
- The owner of a case is the engineer whose assignment is the oldest, by its moment. A partner's engineer is never one.
- A grant that had to be asked for, that names an approval, or that somebody gave to another, rests on an approval:
  asked for by its holder for this case, given by somebody else who is no engineer, before it lapsed and while it
  waited; for one grant, which lasts no longer than was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from audit.times import parse_rfc3339
from audit.tlog.kept import AS_IT_IS, Codec, Keep, packed_moment, unpacked_moment

HOLDER, APPROVAL = "engineer", "approval"
"""The details of a grant by approval: whose it is, and the request."""
WAITS = "no-approval"
"""What is wrong with a request that nobody has answered."""
_SEE, _OWN_CASES, _INHERITED = "see", "own-cases", "inherited"
_NEVER_APPROVE = frozenset({"engineer", "partner", "clock", "upload-link", "unknown"})
_MICROSECOND = timedelta(microseconds=1)
Leaf = Mapping[str, Any]


@dataclass(slots=True)
class _Request:
    case: str | None
    asker: str
    lapses: datetime | None
    lasts: timedelta
    given: datetime | None = None
    why: tuple[str, ...] = (WAITS,)
    used: bool = False

    def packed(self) -> list[Any]:
        times = packed_moment(self.lapses), self.lasts // _MICROSECOND, packed_moment(self.given)
        return [self.case, self.asker, *times, self.why, self.used]

    @classmethod
    def unpacked(cls, packed: list[Any]) -> _Request:
        case, asker, lapses, lasts, given, why, used = packed
        times = unpacked_moment(lapses), lasts * _MICROSECOND, unpacked_moment(given)
        return cls(case, asker, *times, tuple(why), used)


class Approvals:
    """Policies and requests by the leaves taken so far, in order."""

    def __init__(self, keep: Keep) -> None:
        self._policies = keep(AS_IT_IS)  # by case, or customer: the rule, and what is long, in minutes
        self._requests = keep(Codec(_Request.packed, _Request.unpacked))

    def policy_set(self, leaf: Leaf) -> None:
        """Take the choice of a customer."""
        details = leaf.get("details", {})
        long = _whole(details.get("long_minutes"))
        self._policies[leaf.get("case") or leaf.get("tenant")] = str(details.get("rule")), long

    def asked(self, leaf: Leaf) -> None:
        """Take a request."""
        details = leaf.get("details", {})
        lasts = timedelta(seconds=_whole(details.get("duration_seconds")))
        self._requests[str(leaf.get("subject"))] = _Request(
            leaf.get("case"), leaf["actor"], moment(details.get("lapses_at")), lasts
        )

    def given(self, leaf: Leaf) -> None:
        """Take an approval."""
        request = self._requests.get(str(leaf.get("subject")))
        if request is None or request.given is not None:
            return
        at = parse_rfc3339(leaf["at"])
        wrong = {
            "approval-was-over": request.why != (WAITS,),
            "approved-by-its-asker": leaf["actor"] == request.asker,
            "not-an-approver": leaf["actor_kind"] in _NEVER_APPROVE,
            "approval-lapsed": request.lapses is None or at >= request.lapses,
        }
        request.given, request.why = at, tuple(why for why, holds in wrong.items() if holds)

    def over(self, leaf: Leaf) -> None:
        """Take the end of a request that waits."""
        request = self._requests.get(str(leaf.get("subject")))
        if request is not None and request.given is None:
            request.why = (leaf["action"].replace(".", "-"),)

    def faults(
        self,
        leaf: Leaf,
        holder: str,
        until: datetime | None,
        assigned: Mapping[str, str],
        customer: str | None,
    ) -> tuple[str, ...]:
        """Return what is wrong with the approval of the grant of this leaf, which ends `until`; nothing if it needs
        none. `assigned`: since when each engineer has been assigned to its case, which is this `customer`'s."""
        name = leaf.get("details", {}).get(APPROVAL)
        if name is None and holder == leaf["actor"] and not self._asks(leaf, until, assigned, customer):
            return ()
        request = self._requests.get(name) if isinstance(name, str) else None
        if request is None or request.given is None:
            return (WAITS,) if request is None else request.why
        wrong = {
            "approval-of-another": request.case != leaf.get("case") or request.asker != holder,
            "approval-used-twice": request.used,
            "longer-than-approved": until is None or until > request.given + request.lasts,
        }
        request.used = True
        return (*request.why, *(why for why, holds in wrong.items() if holds))

    def _asks(
        self, leaf: Leaf, until: datetime | None, assigned: Mapping[str, str], customer: str | None
    ) -> bool:
        """Return whether the policy in force asks for this grant, which its holder gave."""
        rule, long_minutes = self._policies.get(leaf.get("case"), (_INHERITED, 0))
        if rule == _INHERITED:
            rule, long_minutes = self._policies.get(customer, (_SEE, 0))
        if rule != _OWN_CASES:
            return bool(rule != _SEE)
        owner = min(assigned, key=lambda who: (parse_rfc3339(assigned[who]), who), default=None)
        is_partners = leaf["actor_kind"] == "partner" or "partner" in leaf.get("details", {})
        is_long = until is None or until - parse_rfc3339(leaf["at"]) > timedelta(minutes=long_minutes)
        return is_partners or is_long or leaf["actor"] != owner


def moment(text: object) -> datetime | None:
    """Parse a moment; None when there is none, and then nothing is alive by it."""
    try:
        return parse_rfc3339(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _whole(number: object) -> int:
    return number if isinstance(number, int) else 0
