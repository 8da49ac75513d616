"""The reads that nothing in the log allowed, and the unused grants, from the leaves alone (P2, P6). Pure.

A second, independent reading of the rules of access: it shares no code with the one that decides.
- A read rests on the grant that its entry names: given before it, to the same actor and for the same case, not
  released, revoked or ended, and not expired at the read's own moment.
- At that moment the actor is assigned to the case, the case is open and holds the bundle, and no erasure of the bundle
  has begun.
- A read whose entry names a partner company also rests on a consent: the one that the grant names, given for this case
  and to this company, not revoked and not expired. One such consent is for the whole case or for this bundle: the
  read's entry names it, or else it is the grant's.
- Where it has to, a grant rests on the customer's approval: `audit.tlog.approvals` says when and on which.
- What ends access ends it from its own entry on: the order of the log counts. Expiry counts by the clock.
- In entries from before companies were named, a consent or a read may name none: what they allow is unknown.
- A read that began in time is cut when its grant ends. One completed later than CUT_WITHIN after that is reported
  separately: a slow line may be the cause, and no entry says what was decrypted when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from audit.entry import Action, Outcome
from audit.times import from_microseconds, parse_rfc3339, to_microseconds
from audit.tlog.approvals import APPROVAL, HOLDER, Approvals, moment
from audit.tlog.kept import AS_IT_IS, Codec, Keep, in_memory, packed_moment, unpacked_moment

CUT_WITHIN = timedelta(minutes=1)
READS = frozenset({Action.BUNDLE_OPENED, Action.BUNDLE_LISTED})
"""The actions that show something of a bundle's content."""
COMPANY = "partner"
"""The detail that names a partner company: in `consent.given` the one consented to, elsewhere the actor's own."""
CONSENT = "consent"
"""The detail that names a consent: in a partner's read the one that covers the bundle, in a grant its own."""

Leaf = Mapping[str, Any]


class Kind(StrEnum):
    """The kind of a finding."""

    UNALLOWED = "unallowed"
    UNTOLD = "cannot-be-told"
    OUTLASTED = "outlasted"
    UNUSED = "unused-grant"


@dataclass(frozen=True, slots=True)
class Finding:
    """A read, or an unused grant. `entry` is the entry that shows it, `at` its moment, `why` stable codes."""

    kind: Kind
    at: datetime
    entry: str
    actor: str
    case: str | None
    bundle: str | None
    grant: str | None
    why: tuple[str, ...]

    def packed(self) -> list[Any]:
        at = to_microseconds(self.at)
        return [self.kind, at, self.entry, self.actor, self.case, self.bundle, self.grant, self.why]

    @classmethod
    def unpacked(cls, packed: list[Any]) -> Finding:
        kind, at, entry, actor, case, bundle, grant, why = packed
        return cls(Kind(kind), from_microseconds(at), entry, actor, case, bundle, grant, tuple(why))


FINDING = Codec(Finding.packed, Finding.unpacked)


@dataclass(slots=True)
class _Grant:
    entry: str
    at: datetime
    holder: str
    case: str | None
    bundle: str | None
    until: datetime | None
    consent: str | None
    unapproved: tuple[str, ...]
    ended: datetime | None = None
    used: bool = False

    def end(self) -> datetime | None:
        """Return when the grant ended, or expires."""
        known = [at for at in (self.until, self.ended) if at is not None]
        return min(known, default=None)

    def packed(self) -> list[Any]:
        times = to_microseconds(self.at), packed_moment(self.until), packed_moment(self.ended)
        return [
            self.entry,
            self.holder,
            self.case,
            self.bundle,
            self.consent,
            self.unapproved,
            self.used,
            *times,
        ]

    @classmethod
    def unpacked(cls, packed: list[Any]) -> _Grant:
        entry, holder, case, bundle, consent, unapproved, used, at, until, ended = packed
        return cls(
            entry=entry,
            at=from_microseconds(at),
            holder=holder,
            case=case,
            bundle=bundle,
            until=unpacked_moment(until),
            consent=consent,
            unapproved=tuple(unapproved),
            ended=unpacked_moment(ended),
            used=used,
        )


@dataclass(slots=True)
class _Consent:
    case: str | None
    company: str | None
    until: datetime | None
    scope: frozenset[str] | None
    revoked: bool = False

    def packed(self) -> list[Any]:
        scope = None if self.scope is None else list(self.scope)
        return [self.case, self.company, packed_moment(self.until), scope, self.revoked]

    @classmethod
    def unpacked(cls, packed: list[Any]) -> _Consent:
        case, company, until, scope, revoked = packed
        known = None if scope is None else frozenset(scope)
        return cls(case, company, unpacked_moment(until), known, revoked)


class Accounts:
    """The state of access by the leaves taken so far, in order. What is kept grows with grants, cases, bundles held
    and reads that did not end."""

    def __init__(self, keep: Keep = in_memory) -> None:
        self._grants: MutableMapping[str | None, _Grant] = keep(Codec(_Grant.packed, _Grant.unpacked))
        self._consents: MutableMapping[str | None, _Consent] = keep(Codec(_Consent.packed, _Consent.unpacked))
        self._approvals = Approvals(keep)
        self._by_approval: MutableMapping[str | None, list[str]] = keep(AS_IT_IS)  # request: its grants
        self._assigned: MutableMapping[str | None, dict[str, str]] = keep(AS_IT_IS)  # case: actor: since when
        self._customer: MutableMapping[str | None, str | None] = keep(AS_IT_IS)  # case: customer
        self._open: MutableMapping[str | None, bool] = keep(AS_IT_IS)  # case: True
        self._held: MutableMapping[str | None, str | None] = keep(AS_IT_IS)  # bundle: case
        self._reading: MutableMapping[str | None, str | None] = keep(AS_IT_IS)  # entry of a read: its grant

    def take(self, leaf: Leaf) -> Finding | None:
        """Take the next leaf; return the finding, if it is a read to report."""
        if leaf["action"] == Action.BUNDLE_READ_ENDED:
            return self._read_ended(leaf)
        if leaf["outcome"] != Outcome.SUCCESS:
            return None
        if leaf["action"] in READS:
            return self._read(leaf)
        replay = _REPLAY.get(leaf["action"])
        if replay is not None:
            replay(self, leaf)
        return None

    def unused(self, now: datetime) -> Iterator[Finding]:
        """Find the grants that ended, or expired by `now`, and that no read rested on."""
        for name, grant in self._grants.items():
            end = grant.end()
            if not grant.used and (end is None or end <= now):
                whose = grant.entry, grant.holder, grant.case, grant.bundle
                yield Finding(Kind.UNUSED, grant.at, *whose, name, ("never-used",))

    def _read(self, leaf: Leaf) -> Finding | None:
        name = leaf.get("subject")
        grant = self._grants.get(name) if name is not None else None
        self._reading[leaf["id"]] = name
        if grant is not None:
            grant.used = True
        wrong = [*_grant_faults(leaf, grant), *self._standing_faults(leaf)]
        untold = False
        if grant is not None:
            more, untold = self._consent_faults(leaf, grant)
            wrong += more
        if wrong:
            return _finding(Kind.UNALLOWED, leaf, name, tuple(wrong))
        return _finding(Kind.UNTOLD, leaf, name, ("company-not-named",)) if untold else None

    def _standing_faults(self, leaf: Leaf) -> Iterator[str]:
        case = leaf.get("case")
        if leaf["actor"] not in self._assigned.get(case, {}):
            yield "not-assigned"
        if case not in self._open:
            yield "case-not-open"
        if case is None or self._held.get(leaf.get("bundle")) != case:
            yield "bundle-not-of-this-case"

    def _consent_faults(self, leaf: Leaf, grant: _Grant) -> tuple[list[str], bool]:
        """Return the faults of the consent, and whether the companies are unknown."""
        company = leaf.get("details", {}).get(COMPANY)
        if grant.consent is None:
            named = ["no-consent"] if company is not None else []
            return named, company is None and leaf["actor_kind"] == "partner"
        covers = str(leaf.get("details", {}).get(CONSENT, grant.consent))
        faults, untold = [], company is None
        for name in dict.fromkeys((grant.consent, covers)):
            consent = self._consents.get(name)
            if consent is None or consent.case != leaf.get("case"):
                return ["no-consent"], False
            if consent.revoked:
                faults.append("consent-revoked")
            if consent.until is None or parse_rfc3339(leaf["at"]) >= consent.until:
                faults.append("consent-expired")
            if name == covers and consent.scope is not None and leaf.get("bundle") not in consent.scope:
                faults.append("consent-does-not-cover")
            untold = untold or consent.company is None
            if None not in (company, consent.company) and company != consent.company:
                faults.append("consent-to-another-company")
        return list(dict.fromkeys(faults)), untold

    def _read_ended(self, leaf: Leaf) -> Finding | None:
        name = self._reading.pop(str(leaf.get("details", {}).get("opened")), None)
        grant = self._grants.get(name) if name is not None else None
        end = grant.end() if grant is not None else None
        if leaf["outcome"] != Outcome.SUCCESS or end is None or parse_rfc3339(leaf["at"]) <= end + CUT_WITHIN:
            return None
        return _finding(Kind.OUTLASTED, leaf, name, ("completed-after-the-grant-ended",))

    # The changes that the entries of acts make.

    def _case_opened(self, leaf: Leaf) -> None:
        self._open[leaf.get("case")] = True
        self._customer.setdefault(leaf.get("case"), leaf.get("tenant"))

    def _case_closed(self, leaf: Leaf) -> None:
        self._open.pop(leaf.get("case"), None)

    def _assign(self, leaf: Leaf) -> None:
        """Take an assignment; one made again, which a restored database had lost, counts from the newest."""
        self._assigned.setdefault(leaf.get("case"), {})[str(leaf.get("subject"))] = leaf["at"]

    def _unassign(self, leaf: Leaf) -> None:
        self._assigned.get(leaf.get("case"), {}).pop(str(leaf.get("subject")), None)

    def _grant_given(self, leaf: Leaf) -> None:
        details = leaf.get("details", {})
        holder, until = str(details.get(HOLDER, leaf["actor"])), moment(details.get("expires_at"))
        assigned = self._assigned.get(leaf.get("case"), {})
        customer = self._customer.get(leaf.get("case"))
        unapproved = self._approvals.faults(leaf, holder, until, assigned, customer)
        self._grants[str(leaf.get("subject"))] = _Grant(
            entry=leaf["id"],
            at=parse_rfc3339(leaf["at"]),
            holder=holder,
            case=leaf.get("case"),
            bundle=leaf.get("bundle"),
            until=until,
            consent=details.get("consent"),
            unapproved=unapproved,
        )
        if APPROVAL in details:
            self._by_approval.setdefault(str(details[APPROVAL]), []).append(str(leaf.get("subject")))

    def _approval_over(self, leaf: Leaf) -> None:
        """Take the end of a request; of one that was given, the end of its grant too."""
        self._approvals.over(leaf)
        for name in self._by_approval.get(str(leaf.get("subject")), ()):
            self._grant_ended({**leaf, "subject": name})

    def _grant_ended(self, leaf: Leaf) -> None:
        grant = self._grants.get(str(leaf.get("subject")))
        if grant is not None and grant.ended is None:
            grant.ended = parse_rfc3339(leaf["at"])

    def _consent_given(self, leaf: Leaf) -> None:
        details = leaf.get("details", {})
        scope = details.get("scope")
        self._consents[str(leaf.get("subject"))] = _Consent(
            leaf.get("case"),
            details.get(COMPANY),
            moment(details.get("expires_at")),
            frozenset(scope) if isinstance(scope, list) else None if scope == "case" else frozenset(),
        )

    def _consent_revoked(self, leaf: Leaf) -> None:
        consent = self._consents.get(str(leaf.get("subject")))
        if consent is not None:
            consent.revoked = True

    def _bundle_created(self, leaf: Leaf) -> None:
        self._held[leaf.get("bundle")] = leaf.get("case")

    def _bundle_placed(self, leaf: Leaf) -> None:
        """Put a bundle in the case that its entry names; one whose erasure has begun never comes back."""
        if leaf.get("bundle") in self._held:
            self._held[leaf.get("bundle")] = leaf.get("case")

    def _bundle_goes(self, leaf: Leaf) -> None:
        self._held.pop(leaf.get("bundle"), None)


def unaccounted(leaves: Iterable[Leaf], now: datetime) -> list[Finding]:
    """Replay the parsed leaves, in order: the reads to report as they come, then the unused grants."""
    accounts = Accounts()
    reads = [found for leaf in leaves if (found := accounts.take(leaf)) is not None]
    return [*reads, *accounts.unused(now)]


def _grant_faults(leaf: Leaf, grant: _Grant | None) -> Iterator[str]:
    if grant is None:
        yield "no-such-grant"
        return
    if grant.holder != leaf["actor"]:
        yield "grant-of-another-actor"
    if grant.case != leaf.get("case"):
        yield "grant-of-another-case"
    if grant.ended is not None:
        yield "grant-ended"
    if grant.until is None or parse_rfc3339(leaf["at"]) >= grant.until:
        yield "grant-expired"
    yield from grant.unapproved


def _finding(kind: Kind, leaf: Leaf, grant: str | None, why: tuple[str, ...]) -> Finding:
    at = parse_rfc3339(leaf["at"])
    return Finding(kind, at, leaf["id"], leaf["actor"], leaf.get("case"), leaf.get("bundle"), grant, why)


_REPLAY: dict[str, Callable[[Accounts, Leaf], None]] = {
    Action.CASE_OPENED: Accounts._case_opened,
    Action.CASE_REOPENED: Accounts._case_opened,
    Action.CASE_CLOSED: Accounts._case_closed,
    Action.CASE_ASSIGNED: Accounts._assign,
    Action.CASE_UNASSIGNED: Accounts._unassign,
    Action.GRANT_GIVEN: Accounts._grant_given,
    Action.GRANT_RELEASED: Accounts._grant_ended,
    Action.GRANT_REVOKED: Accounts._grant_ended,
    Action.GRANT_ENDED: Accounts._grant_ended,
    Action.APPROVAL_POLICY_SET: lambda accounts, leaf: accounts._approvals.policy_set(leaf),
    Action.APPROVAL_ASKED: lambda accounts, leaf: accounts._approvals.asked(leaf),
    Action.APPROVAL_GIVEN: lambda accounts, leaf: accounts._approvals.given(leaf),
    Action.APPROVAL_DECLINED: Accounts._approval_over,
    Action.APPROVAL_LAPSED: Accounts._approval_over,
    Action.APPROVAL_WITHDRAWN: Accounts._approval_over,
    Action.CONSENT_GIVEN: Accounts._consent_given,
    Action.CONSENT_REVOKED: Accounts._consent_revoked,
    Action.UPLOAD_CREATED: Accounts._bundle_created,
    Action.UPLOAD_CONTINUED: Accounts._bundle_placed,
    Action.BUNDLE_RECEIVED: Accounts._bundle_placed,
    Action.BUNDLE_CLAIMED: Accounts._bundle_placed,
    Action.BUNDLE_MOVED: Accounts._bundle_placed,
    Action.BUNDLE_ERASING: Accounts._bundle_goes,
    Action.BUNDLE_ERASED: Accounts._bundle_goes,
}
