"""Who is allowed to read what, until when (P2, P6). Denial is a value with a reason; the unknown is denied.

Rules:
- A grant is the only key to `open`. Engineers give it to themselves, for one open case that they are assigned to, with
  a real reason, for 15 minutes to 24 hours.
- A partner's grant also needs a live consent for that case and that partner; it cannot outlive the consent. Each bundle
  is opened under a live consent that covers it, the grant's own or another, and until that consent ends.
- Closing the case, unassigning, revoking the grant or the consent, and erasing end a grant at once.
  Nothing extends one.
- `Allowed` is made here and nowhere else, and `open` takes nothing less: a route cannot forget the check.
- A grant allows no writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from retention.domain.actor import Actor, Role
from retention.domain.bundle import BundleState
from retention.domain.case import CaseState

DEFAULT_DURATION, SHORTEST, LONGEST = timedelta(hours=8), timedelta(minutes=15), timedelta(hours=24)
CLOCKS_APART = timedelta(minutes=5)
"""The most by which the clocks of two processes can differ."""
MIN_REASON_CHARACTERS, MIN_DIFFERENT_CHARACTERS, MAX_REASON_CHARACTERS = 8, 4, 1000

_MADE_HERE = object()


@dataclass(frozen=True, slots=True)
class Denied:
    """A denial; `reason` is a stable code, `message` says what to do."""

    reason: str
    message: str


PARTNERS_NEED = "a partner's engineer needs both: the case system's assignment and the customer's consent"
NOT_ASSIGNED = Denied("not-assigned", "you are not assigned to this case; have the case system assign you")
"""Also the denial for a case that does not exist: an engineer is not to learn which numbers do."""

NOT_COVERED = Denied("no-consent", "the customer's consent does not cover this bundle, or has ended")


@dataclass(frozen=True, slots=True)
class Consent:
    """A customer's consent for one partner to see a case: all of it, or the bundles in `scope`."""

    id: str
    case: str
    partner: str
    scope: frozenset[str] | None
    expires_at: datetime
    revoked_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Return True until the consent expires or is revoked."""
        return self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Grant:
    """One actor's read-only, time-boxed access to one case."""

    id: str
    case: str
    actor: str
    expires_at: datetime
    ended_at: datetime | None = None
    consent: str | None = None

    def is_live(self, now: datetime) -> bool:
        """Return True until it expires or ends. A grant beyond the longest allowed came from a clock that was ahead."""
        return self.ended_at is None and now < self.expires_at <= now + LONGEST + CLOCKS_APART


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """The facts the rules need: a case, and this actor's standing in it."""

    case: str
    state: CaseState
    assigned: bool
    consents: Sequence[Consent] = ()


class Allowed:
    """Permission to open one bundle under one grant; only `decide_open` makes it.

    `consent` covers the bundle; it is None for the service's own engineers, who need none.
    """

    __slots__ = ("actor", "bundle", "case", "consent", "grant", "until")
    actor: Actor
    bundle: str
    case: str
    grant: Grant
    consent: Consent | None
    until: datetime

    def __init__(
        self,
        made_here: object,
        *,
        actor: Actor,
        case: str,
        bundle: str,
        grant: Grant,
        consent: Consent | None,
    ) -> None:
        if made_here is not _MADE_HERE:
            raise TypeError("Allowed is made by retention.domain.grants only")
        until = grant.expires_at if consent is None else min(grant.expires_at, consent.expires_at)
        values = {
            "actor": actor,
            "case": case,
            "bundle": bundle,
            "grant": grant,
            "consent": consent,
            "until": until,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __init_subclass__(cls) -> None:
        raise TypeError("Allowed is made by retention.domain.grants only: no class can pass for it")

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("Allowed cannot be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("Allowed cannot be copied or stored: it holds for one read")


def check_reason(reason: str) -> Denied | None:
    """Return None for a real reason, else the denial; "." or "aaaaaaaa" is not a real one."""
    letters = [c for c in reason if c.isalnum()]
    if (
        len(letters) < MIN_REASON_CHARACTERS
        or len({c.lower() for c in letters}) < MIN_DIFFERENT_CHARACTERS
        or len(reason) > MAX_REASON_CHARACTERS
    ):
        return Denied(
            "reason-missing",
            f"give a reason with at least {MIN_REASON_CHARACTERS} letters or digits, {MIN_DIFFERENT_CHARACTERS} "
            f"different ones, and at most {MAX_REASON_CHARACTERS} characters (this one has {len(reason)})",
        )
    return None


def decide_grant(
    actor: Actor, facts: CaseFacts, reason: str, duration: timedelta, now: datetime
) -> tuple[datetime, Consent | None] | Denied:
    """Return the expiry of the grant that `actor` asks for, with the consent it rests on; or the denial."""
    if not SHORTEST <= duration <= LONGEST:
        return Denied(
            "duration-out-of-range", f"a grant cannot last {duration}: ask for 15 minutes to 24 hours"
        )
    denied = check_reason(reason) or _check_standing(actor, facts)
    if denied:
        return denied
    if actor.has(Role.SUPPORT_ENGINEER):
        return now + duration, None
    consent = live_consent(facts.consents, facts.case, actor.partner, now)
    if consent is None:
        return Denied(
            "no-consent",
            "the customer has given no live consent for your company and this case; ask them for one: "
            + PARTNERS_NEED,
        )
    return min(now + duration, consent.expires_at), consent


def _check_standing(actor: Actor, facts: CaseFacts) -> Denied | None:
    if not actor.has(Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER):
        return Denied(
            "not-an-engineer", "only support engineers and partners' engineers can be granted access"
        )
    if not facts.assigned:
        return NOT_ASSIGNED
    if facts.state is not CaseState.OPEN:
        return Denied("case-closed", "the case is closed; access is given only while it is open")
    return None


def live_consent(
    consents: Sequence[Consent], case: str, partner: str | None, now: datetime
) -> Consent | None:
    """Return the longest-lasting live consent for `case` and `partner`, if any."""
    live = [
        c
        for c in consents
        if partner is not None and c.case == case and c.partner == partner and c.is_live(now)
    ]
    return max(live, key=lambda c: c.expires_at, default=None)


def decide_open(
    actor: Actor,
    facts: CaseFacts | None,
    bundle: str,
    state: BundleState,
    grants: Sequence[Grant],
    now: datetime,
) -> Allowed | Denied:
    """Decide whether `actor` is allowed to open `bundle` (in `state`, held by the case of `facts`) at `now`."""
    if facts is None:
        return Denied("unclaimed", "no case has claimed this bundle; claim it for a case you are assigned to")
    standing = _check_standing(actor, facts)
    if standing:
        return standing
    live = [g for g in grants if g.case == facts.case and g.actor == actor.id and g.is_live(now)]
    if not live:
        return Denied(
            "no-grant", "you hold no live grant for this case; grant yourself access, with a reason"
        )
    for grant in sorted(live, key=lambda g: g.expires_at, reverse=True):
        consent = _covering(grant, actor, facts, bundle, now)
        if not isinstance(consent, Denied):
            if state is not BundleState.COMPLETE:
                return Denied(
                    f"bundle-{state}",
                    "the bundle is damaged: its stored bytes are not those declared or sealed; have it sent again"
                    if state is BundleState.DAMAGED
                    else f"the bundle is not complete ({state}): it can be read once it is received and verified",
                )
            return Allowed(
                _MADE_HERE, actor=actor, case=facts.case, bundle=bundle, grant=grant, consent=consent
            )
    return NOT_COVERED


def _covering(
    grant: Grant, actor: Actor, facts: CaseFacts, bundle: str, now: datetime
) -> Consent | Denied | None:
    """Return the consent under which `grant` reads the bundle (P6); None if it needs none; or the denial.

    A partner's grant rests on its own consent; which bundles it reaches depends on all the live consents.
    """
    if grant.consent is None:
        return None if actor.has(Role.SUPPORT_ENGINEER) else NOT_COVERED
    theirs = [c for c in facts.consents if c.case == facts.case and c.partner == actor.partner]
    live = [c for c in theirs if c.is_live(now)]
    covering = [c for c in live if c.scope is None or bundle in c.scope]
    if not covering or grant.consent not in {c.id for c in live}:
        return NOT_COVERED
    return max(covering, key=lambda c: c.expires_at)
