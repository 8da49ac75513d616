"""The parts that every verb of custody works with, its entries and its refusals.

Rules:
- The clock, the stores and the keys are passed in here; no verb looks for its own.
- A verb decides, writes its records and its entry in one transaction, and returns. A refusal is an entry too (P3): once
  the transaction has ended without a change, it is entered or counted (`counted_entries`), and then the caller is told.
- What a caller is not allowed to see is refused as if it did not exist; the entry tells the auditor the difference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypedDict, TypeVar

from sqlalchemy import Row

from audit.entry import Action, Detail, Entry, Outcome
from audit.tlog.tile_store import TileStore
from retention.clock import Clock
from retention.custody.access.bound_access import Altered
from retention.custody.counted_entries import Counts
from retention.custody.log_gate import Gate
from retention.custody.reading.kept_lists import KeptLists
from retention.custody.reading.opening_entry import Openings
from retention.domain.actor import WITHHELD, Actor, Role
from retention.domain.bundle import Triggers
from retention.domain.case import NUMBER_PATTERN
from retention.domain.deadline import upload_expiry
from retention.domain.faults import CustodyError, NotFound, QuotaExceeded, Refused
from retention.domain.grants import Denied
from retention.domain.ids import Kind, new_id
from retention.domain.notice import Telling
from retention.domain.row_tag import Binding
from retention.envelope.data_keys import KeyWrapper, WrapperCheck
from retention.objects.store import KeyStore, ObjectStore
from retention.records.schema import SchemaWatch
from retention.records.unit_of_work import Reads, Records, Transaction
from retention.telemetry.observer import NOTHING, Observer

T = TypeVar("T")
LOG = logging.getLogger(__name__)

GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a deployment. Sizes are in bytes."""

    max_bundle_size: int = 64 * GIB
    upload_lifetime: timedelta = timedelta(days=7)
    upload_longest: timedelta = timedelta(days=30)
    max_partials: int = 1000
    part_seconds: float = 60
    case_number_pattern: str = NUMBER_PATTERN
    max_consent: timedelta = timedelta(days=365)
    stamp_quota: int | None = None
    case_quota: int | None = None

    def upload_kept_until(self, created_at: datetime, told_at: datetime) -> datetime:
        """Return until when an unfinished upload is kept; `told_at` is its last entry of bytes received."""
        return upload_expiry(created_at, told_at, self.upload_lifetime, self.upload_longest)

    @property
    def has_quota(self) -> bool:
        """True if bytes have to be counted."""
        return (self.stamp_quota, self.case_quota) != (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """The parts that custody is made of."""

    clock: Clock
    records: Records
    objects: ObjectStore
    keys: KeyStore
    wrapper: KeyWrapper
    binding: Binding
    tiles: TileStore
    gate: Gate
    triggers: Triggers
    limits: Limits = field(default_factory=Limits)
    telling: Telling = field(default_factory=Telling)
    openings: Openings = field(default_factory=Openings)
    lists: KeptLists = field(default_factory=KeptLists)
    schema: SchemaWatch = field(default_factory=SchemaWatch)
    observer: Observer = NOTHING
    counts: Counts = field(default_factory=Counts)
    key_check: WrapperCheck = field(default_factory=WrapperCheck)

    def write_counts(self, *, everything: bool = False) -> int:
        """Enter what was counted in windows that are over, or `everything`; return how many entries."""
        return self.counts.flush(self.records, self.clock.now(), everything=everything)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The result of a work that changed nothing: the `entry` of the refusal, and the `error` for the caller."""

    error: CustodyError
    entry: Entry


PATIENCE = 120
"""Refusals within a window after which a caller is asked to wait: far more than a person causes."""


def commit(custody: Custody, work: Callable[[Transaction], T | Refusal]) -> T:
    """Run `work` and return its value once durable. For a Refusal, write or count the entry and raise the error."""
    with alarmed():
        return _unless_refused(custody, custody.records.write(work))


def decide(custody: Custody, look: Callable[[Reads], T | Refusal]) -> T:
    """Run `look` as `commit` would, but read-only: it waits for no writer and no disk, unless it is a refusal."""
    with alarmed():
        with custody.records.read() as reads:
            value = look(reads)
        return _unless_refused(custody, value)


def _unless_refused(custody: Custody, value: T | Refusal) -> T:
    if isinstance(value, Refusal):
        counts = custody.counts.refusals
        if counts.note(custody.records, value.entry, value.entry.actor) > PATIENCE:
            value.error.again_after = counts.window
        value.error.entered = True
        raise value.error
    return value


def shown_again(custody: Custody, actor: Actor, of: str, subject: str, ids: OfCase) -> None:
    """Enter or count a look (P3): an act requested again changes nothing, but shows how the thing stands."""
    now = custody.clock.now()
    looked = entry(actor, Action.RECORD_SHOWN, now, **ids, subject=subject, details={"of": of})
    custody.counts.looks.note(custody.records, looked, actor.id)


@contextmanager
def alarmed() -> Iterator[None]:
    """Log what is found altered inside the `with`, for the service's operator; the caller is not told what it was."""
    try:
        yield
    except Altered as error:
        LOG.critical("the records were altered: %s", error.what)
        raise


class OfCase(TypedDict):
    """The tenant and case that an entry belongs to."""

    tenant: str
    case: str | None


class OfBundle(OfCase):
    """The tenant, case and bundle that an entry belongs to."""

    bundle: str


def about_case(case: Row[Any]) -> OfCase:
    """Return the arguments of `entry` and `refuse` for a case."""
    return {"tenant": case.tenant_id, "case": case.id}


def about_bundle(bundle: Row[Any]) -> OfBundle:
    """Return the arguments of `entry` and `refuse` for a bundle."""
    return {"tenant": bundle.tenant_id, "case": bundle.case_id, "bundle": bundle.id}


def about(held: Row[Any]) -> OfCase:
    """Return the arguments of `entry` and `refuse` for a grant, a consent or an erasure: those of its case."""
    return {"tenant": held.tenant_id, "case": held.case_id}


def entry(
    actor: Actor,
    action: Action,
    now: datetime,
    *,
    outcome: Outcome = Outcome.SUCCESS,
    reason: str | None = None,
    tenant: str | None = None,
    case: str | None = None,
    bundle: str | None = None,
    subject: str | None = None,
    details: Mapping[str, Detail] | None = None,
    particulars: Mapping[str, str] | None = None,
) -> Entry:
    """Make an entry by `actor`, with the actor's own particulars beside it; its leaf names the company they act for."""
    company = {} if actor.company is None else {"partner": actor.company}
    return Entry(
        id=new_id(Kind.ENTRY),
        at=now,
        action=action,
        outcome=outcome,
        actor=actor.id,
        actor_kind=actor.kind,
        reason=reason,
        tenant=tenant,
        case=case,
        bundle=bundle,
        subject=subject,
        details={**company, **(details or {})},
        particulars={**actor.particulars, **(particulars or {})},
    )


def refuse(
    tx: Reads,
    actor: Actor,
    action: Action,
    now: datetime,
    denied: Denied | QuotaExceeded | Refused,
    *,
    tenant: str | None = None,
    case: str | None = None,
    bundle: str | None = None,
    subject: str | None = None,
) -> Refusal:
    """Refuse openly: make the entry, and `Refused` (or a more specific error) for the caller."""
    error = Refused(denied.message, reason=denied.reason) if isinstance(denied, Denied) else denied
    refused = entry(
        actor,
        action,
        now,
        outcome=Outcome.REFUSED,
        reason=denied.reason,
        tenant=tenant,
        case=case,
        bundle=bundle,
        subject=subject,
    )
    return turned(tx, error, refused)


def unseen(
    tx: Reads,
    actor: Actor,
    action: Action,
    now: datetime,
    kind: str,
    asked: str,
    advice: str = "",
    *,
    keep: bool = True,
) -> Refusal:
    """Refuse as if `asked` did not exist, whether or not it does, with `advice` either way. What was asked for is a
    particular; `keep=False` for a person's name, which others' entries would hold after that person is forgotten."""
    refused = entry(
        actor,
        action,
        now,
        outcome=Outcome.REFUSED,
        reason=f"{kind}-not-visible",
        particulars={"asked": asked[:256]} if keep else {},
    )
    said = f"there is no {kind} {asked[:64]!r} that you are allowed to see{advice}"
    return turned(tx, NotFound(said, kind=kind), refused)


def turned(tx: Reads, error: CustodyError, refused: Entry) -> Refusal:
    """Make the refusal of a work that has changed nothing; RuntimeError if it has, for the change would be kept."""
    if isinstance(tx, Transaction) and tx.changed:
        raise RuntimeError(f"{refused.action} was refused after something was changed")
    return Refusal(error, refused)


def lacks_role(actor: Actor, *roles: Role) -> Denied | None:
    """Return None if the actor holds one of `roles`, else the denial."""
    if actor.has(*roles):
        return None
    for role in roles:
        if (why := actor.withheld.get(role)) is not None:
            return Denied(why, WITHHELD[why])
    names = " or ".join(role.value for role in roles)
    return Denied("role-missing", f"this needs the role {names}, which your token does not carry")


def not_operator_of(actor: Actor, tenant: str) -> Denied | None:
    """Return None for that customer's own operator, else the denial. Further roles let one see more, not do more."""
    if denied := lacks_role(actor, Role.OPERATOR):
        return denied
    if actor.tenant != tenant:
        return Denied(
            "another-customer", "you are another customer's operator; only this customer's own can do this"
        )
    return None
