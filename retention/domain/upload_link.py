"""Upload links: what one can allow, when it can be used, and the collection of a blob sent through it. Pure.

- A link is for one stamp, or for one case and the stamp that sends for it. It lets its holder send, and see what was
  sent through it; it never opens a bundle.
- It lives two years at most, and no longer than its case's data. Renewal does not restart the two years: they begin
  when it was issued.
- The record decides, not the signature: a link that was revoked, or whose stamp or case is gone, is refused however
  good its signature is.
- The link fills in what a blob's metadata leaves out. Without declared times, the logs are those of the four hours
  before the blob was begun, which is what a stamp collects by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from retention.domain.bundle import Collection, CollectionType
from retention.domain.faults import Conflict, Invalid
from retention.domain.grants import Denied

PERMISSIONS = "rcwdl"
"""Read (properties, block lists), create, write, delete (what is not complete), list; in a signature's order."""
DEFAULT_PERMISSIONS = "rcwl"
LONGEST = timedelta(days=2 * 365)
START_SKEW = timedelta(minutes=15)
"""How long before its start a link is accepted already, for clocks that differ; as in the Blob service."""
ASSUMED_WINDOW = timedelta(hours=4)
_FIRST = datetime.min.replace(tzinfo=UTC)
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTerms:
    """The terms requested for a link. Times are aware, UTC; `addresses` is one IP address or `first-last`."""

    expires_at: datetime
    permissions: str = DEFAULT_PERMISSIONS
    starts_at: datetime | None = None
    addresses: str | None = None
    type: CollectionType
    trigger: str | None = None
    roles: Sequence[str] = ()


def check_terms(terms: LinkTerms, now: datetime, case_deadline: datetime | None) -> None:
    """Raise Invalid, naming every wrong field, unless a link can have these terms."""
    errors = {**_time_errors(terms, now, case_deadline)}
    if not terms.permissions or order(terms.permissions) != terms.permissions:
        errors["permissions"] = f"must be letters of {PERMISSIONS}, in this order, each at most once"
    if terms.addresses is not None and read_range(terms.addresses) is None:
        errors["ip"] = "must be an IP address, or the first and last of a range, such as 192.0.2.1-192.0.2.9"
    if errors:
        raise Invalid(
            "this link cannot be issued: " + "; ".join(f"{k} {v}" for k, v in errors.items()), errors
        )


def _time_errors(terms: LinkTerms, now: datetime, case_deadline: datetime | None) -> dict[str, str]:
    begins = terms.starts_at or now
    if terms.expires_at <= max(begins, now):
        return {"expires_at": "must be in the future, and after starts_at"}
    if terms.expires_at > now + LONGEST:
        return {"expires_at": f"must be within two years, by {(now + LONGEST).isoformat()}"}
    return _deadline_errors(terms.expires_at, case_deadline)


def _deadline_errors(expires_at: datetime, case_deadline: datetime | None) -> dict[str, str]:
    if case_deadline is not None and expires_at > case_deadline:
        return {"expires_at": f"must not be after the case's data is erased, {case_deadline.isoformat()}"}
    return {}


def check_renewal(link: LinkFacts, created_at: datetime, expires_at: datetime, now: datetime) -> None:
    """Raise Conflict or Invalid unless a link with these facts can be renewed until `expires_at`."""
    if link.revoked_at is not None:
        raise Conflict("this upload link was revoked for good: issue a new one", reason="link-revoked")
    if link.stamp_gone:
        raise Conflict("the stamp that this upload link is for is deregistered", reason="stamp-deregistered")
    errors: dict[str, str] = {}
    if expires_at <= now:
        errors = {"expires_at": "must be in the future"}
    elif expires_at <= link.expires_at:
        ends = link.expires_at.isoformat()
        errors = {"expires_at": f"must be after the link's present end, {ends}; to end it sooner, revoke it"}
    elif expires_at > created_at + LONGEST:
        last = (created_at + LONGEST).isoformat()
        errors = {"expires_at": f"must be within two years of the link's issue, no later than {last}"}
    else:
        errors = _deadline_errors(expires_at, link.case_deadline)
    if errors:
        raise Invalid(f"this link cannot be renewed: expires_at {errors['expires_at']}", errors)


def order(permissions: str) -> str:
    """Return the permissions among these letters, in a signature's order."""
    return "".join(letter for letter in PERMISSIONS if letter in permissions)


def read_range(text: str) -> tuple[Address, Address] | None:
    """Return the first and last address of `192.0.2.1` or `192.0.2.1-192.0.2.9`; None for anything else."""
    first, dash, last = text.partition("-")
    try:
        low = ip_address(first)
        high = ip_address(last) if dash else low
    except ValueError:
        return None
    same = isinstance(low, IPv4Address) == isinstance(high, IPv4Address)
    return (low, high) if same and int(low) <= int(high) else None


def covers(addresses: str, address: str) -> bool:
    """Tell whether a range holds an address. An IPv4-mapped IPv6 address counts as IPv4."""
    held = read_range(addresses)
    try:
        seen = ip_address(address)
    except ValueError:
        return False
    if isinstance(seen, IPv6Address) and seen.ipv4_mapped is not None:
        seen = seen.ipv4_mapped
    return held is not None and seen.version == held[0].version and int(held[0]) <= int(seen) <= int(held[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFacts:
    """Everything that the use of a link depends on, apart from its signature."""

    starts_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    addresses: str | None
    stamp_gone: bool
    case_deadline: datetime | None


def decide_use(facts: LinkFacts, address: str | None, now: datetime) -> Denied | None:
    """Return None if the link may be used now from `address`, else the denial. None as `address` skips that check."""
    if facts.revoked_at is not None:
        return Denied("revoked", "this upload link was revoked; ask for a new one")
    if facts.stamp_gone:
        return Denied("stamp-deregistered", "the stamp that this upload link is for is deregistered")
    if now >= facts.expires_at:
        return Denied("expired", "this upload link has expired; ask for it to be renewed")
    if facts.case_deadline is not None and now >= facts.case_deadline:
        return Denied(
            "case-past-deadline", "the case closed 90 or more days ago; its link ended with its data"
        )
    if now + START_SKEW < facts.starts_at:
        return Denied("not-yet-valid", f"this upload link is not valid before {facts.starts_at.isoformat()}")
    if facts.addresses and address is not None and not covers(facts.addresses, address):
        return Denied("address", f"this upload link is not for this address, {address}")
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The collection as declared in a blob's own metadata; None for what it leaves out."""

    type: CollectionType | None = None
    logs_start: datetime | None = None
    logs_end: datetime | None = None
    time_collected: datetime | None = None
    case: str | None = None
    trigger: str | None = None
    roles: Sequence[str] | None = None
    send_logs_now: bool = False
    sha256: str | None = None

    @property
    def window_known(self) -> bool:
        return self.logs_start is not None and self.logs_end is not None


def collection_of(
    declared: Declared,
    *,
    type_: CollectionType,
    trigger: str | None,
    roles: Sequence[str],
    has_case: bool,
    blob_name: str,
    begun_at: datetime,
    size: int = 0,
) -> Collection:
    """Return a blob's collection: as declared, with the link's `type_`, `trigger` and `roles` for what is left out."""
    kind = declared.type or (CollectionType.ON_DEMAND if has_case else type_)
    proactive = kind is CollectionType.PROACTIVE
    collected = declared.time_collected or declared.logs_end or begun_at
    end = declared.logs_end or collected
    return Collection(
        type=kind,
        logs_start=declared.logs_start or end - min(ASSUMED_WINDOW, end - _FIRST),
        logs_end=end,
        time_collected=collected,
        file_name=blob_name.rsplit("/", 1)[-1],
        size=size,
        trigger=declared.trigger or (trigger if proactive else None),
        roles=tuple(roles if declared.roles is None else declared.roles),
        send_logs_now=declared.send_logs_now,
        sha256=declared.sha256,
    )
