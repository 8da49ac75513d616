"""Erasure: begun by the clock or a request, and resumable at every step (P4, P5, P7, P8).

Order of writing, for each bundle:
  * state `erasing` + entry -> destroy the data key -> delete objects -> prove absence
  -> * state `erased` (tombstone) + entry; with the last bundle: * erasure proven + receipt + entry
Every step is idempotent and derived from state, so the next sweep resumes after a crash anywhere. From `erasing` there
is no way back: the bundle is unreadable at once, whatever is still in the store.

On request:
- The customer can have a case or one bundle erased at any time; an engineer can do it for them, with a reason.
- An engineer of the case who comes upon sensitive data, received inadvertently, reports it: the bundle, or the whole
  case, is erased at once. That needs no grant: nothing is read.
- A request for data that the clock is already erasing joins that erasure, which then goes ahead of scheduled work.
- An erasure that fails waits for its next try (`work_state`); a new request has it tried at once.
- The confirmation number is given at once, the receipt when the erasure is proven. On-demand work goes first.
- An erasure is shown to the customer's present operators, not to a former one who requested it; an engineer sees those
  of the cases they are assigned to, and those they requested as an engineer.
- Data erased on request is refused for a while when it is sent again (`resending`).
- A bundle made of partial uploads takes along those that are left: they hold the same bytes.

By deadline, begun by the clock (P4, P9):
- Bundles due with their case are erased as the case, and the grants to it end.
- A bundle due by itself is erased alone, and its case lives on: one that no case claimed, or one that was moved and
  kept the earlier deadline of the case it left.
- It notifies nobody (P8); its receipt can be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Row, and_, false, insert, or_, select, update

from audit.entry import Action
from retention.custody import resending
from retention.custody.access.manage_grants import end_grants
from retention.custody.context import (
    Custody,
    Refusal,
    about,
    about_bundle,
    about_case,
    commit,
    entry,
    not_operator_of,
    refuse,
    unseen,
)
from retention.custody.erasure.proof import bundle_entry, prove, record_erased, with_case
from retention.custody.failed_work import UNTRIED, try_at_once
from retention.domain.actor import CLOCK, Actor, Role
from retention.domain.bundle import LIVE, BundleState
from retention.domain.deadline import Reason
from retention.domain.faults import NotFound, Unavailable
from retention.domain.grants import Denied, check_reason
from retention.domain.ids import Kind, new_confirmation, new_id, read_confirmation
from retention.domain.row_tag import Binding
from retention.records.queries import Page, fetch_page, find_bundle, find_case, is_assigned, live_partials
from retention.records.tables import bundles, erasure_bundles, erasures, grants
from retention.records.unit_of_work import Reads, Transaction
from retention.records.visibility import assigned_cases

CASE, BUNDLE = "case", "bundle"
FOR_CUSTOMER, SENSITIVE = "engineer-for-customer", "sensitive-data"
_ENGINEERS_CAUSES = (FOR_CUSTOMER, SENSITIVE)


def request_case_erasure(custody: Custody, actor: Actor, number: str, reason: str = "") -> Row[Any]:
    """Have all of a case's bundles erased. Return the erasure, with its confirmation number."""
    return _of_case(custody, actor, number, reason, _for_customer)


def request_bundle_erasure(custody: Custody, actor: Actor, bundle_id: str, reason: str = "") -> Row[Any]:
    """Have one bundle erased. Return the erasure, with its confirmation number; the same one on a repeated request."""
    return _of_bundle(custody, actor, bundle_id, reason, _for_customer)


def report_case(custody: Custody, actor: Actor, number: str, reason: str) -> Row[Any]:
    """Report that a case's bundles hold sensitive data, received inadvertently: all of them are erased at once."""
    return _of_case(custody, actor, number, reason, _for_sensitive_data)


def report_bundle(custody: Custody, actor: Actor, bundle_id: str, reason: str) -> Row[Any]:
    """Report that a bundle holds sensitive data, received inadvertently: it alone is erased at once."""
    return _of_bundle(custody, actor, bundle_id, reason, _for_sensitive_data)


_Cause = Callable[[Reads, Actor, str, str | None, str], str | Denied]
"""Decides whether the actor can have a tenant's bundles (of a case, with a reason) erased: the cause, or the denial."""


def _of_case(custody: Custody, actor: Actor, number: str, reason: str, decide: _Cause) -> Row[Any]:
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Refusal:
        case = find_case(tx, actor, number, now)
        if case is None:
            return unseen(tx, actor, Action.ERASURE_REQUESTED, now, "case", number)
        cause = decide(tx, actor, case.tenant_id, case.id, reason)
        if isinstance(cause, Denied):
            return refuse(tx, actor, Action.ERASURE_REQUESTED, now, cause, **about_case(case))
        left = bundles.c.case_id == case.id, bundles.c.state != BundleState.ERASED
        held = tx.execute(select(bundles).where(*left)).all()
        before = _last(tx, erasures.c.case_id == case.id, erasures.c.scope == CASE)
        if before is not None and _covers(tx, before, held):
            return _hastened(tx, custody, actor, before, cause, reason, now)
        until = _mark(tx, custody, held, now)
        begun = start(
            tx, actor, held, case.tenant_id, case.id, CASE, cause, now, reason=reason, resend_until=until
        )
        end_with_case(tx, custody.binding, actor, case.id, now)
        return begun

    return commit(custody, work)


def _of_bundle(custody: Custody, actor: Actor, bundle_id: str, reason: str, decide: _Cause) -> Row[Any]:
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Refusal:
        bundle = find_bundle(tx, actor, bundle_id, now)
        if bundle is None:
            return unseen(tx, actor, Action.ERASURE_REQUESTED, now, "bundle", bundle_id)
        tenant, case = bundle.tenant_id, bundle.case_id
        cause = decide(tx, actor, tenant, case, reason)
        if isinstance(cause, Denied):
            return refuse(tx, actor, Action.ERASURE_REQUESTED, now, cause, **about_bundle(bundle))
        under = select(erasure_bundles.c.erasure_id).where(erasure_bundles.c.bundle_id == bundle_id)
        before = _last(tx, erasures.c.id.in_(under))
        if before is not None:
            return _hastened(tx, custody, actor, before, cause, reason, now)
        until = _mark(tx, custody, [bundle], now)
        return start(tx, actor, [bundle], tenant, case, BUNDLE, cause, now, reason=reason, resend_until=until)

    return commit(custody, work)


def _mark(tx: Transaction, custody: Custody, held: Sequence[Row[Any]], now: datetime) -> datetime:
    """Mark the bundles that a person had erased; return until when they are refused."""
    until = now + custody.limits.upload_lifetime
    resending.mark(tx, custody.binding, held, until)
    return until


def _for_customer(reads: Reads, actor: Actor, tenant: str, case_id: str | None, reason: str) -> str | Denied:
    if not_operator_of(actor, tenant) is None:
        return "customer-request"
    return _engineers_part(reads, actor, case_id, reason) or FOR_CUSTOMER


def _for_sensitive_data(
    reads: Reads, actor: Actor, _tenant: str, case_id: str | None, reason: str
) -> str | Denied:
    return _engineers_part(reads, actor, case_id, reason) or SENSITIVE


def _engineers_part(reads: Reads, actor: Actor, case_id: str | None, reason: str) -> Denied | None:
    """Return None for an engineer of that case, with a reason, else the denial. Erasing needs no live grant."""
    if not actor.has(Role.SUPPORT_ENGINEER):
        return Denied(
            "role-missing",
            "only the customer's operator can have data erased, or an engineer of the case, with a reason",
        )
    if case_id is None or not is_assigned(reads, case_id, actor.id):
        return Denied("not-assigned", "you are not assigned to this case; have the case system assign you")
    return check_reason(reason)


def _last(tx: Transaction, *which: Any) -> Row[Any] | None:
    newest = with_case().where(*which).order_by(erasures.c.requested_at.desc(), erasures.c.id).limit(1)
    row: Row[Any] | None = tx.execute(newest).first()
    return row


def _covers(tx: Transaction, erasure: Row[Any], held: Sequence[Row[Any]]) -> bool:
    """Return True if all of `held` is under this erasure already."""
    under = select(erasure_bundles.c.bundle_id).where(erasure_bundles.c.erasure_id == erasure.id)
    return {bundle.id for bundle in held} <= set(tx.execute(under).scalars())


def _hastened(
    tx: Transaction,
    custody: Custody,
    actor: Actor,
    before: Row[Any],
    cause: str,
    reason: str,
    now: datetime,
) -> Row[Any]:
    """Return the erasure that is under way or done; one that the clock began goes ahead of scheduled work from now on.
    The repeated request is an entry either way."""
    waits = erasures.c.id == before.id, ~erasures.c.on_demand, erasures.c.proven_at.is_(None)
    under = select(erasure_bundles.c.bundle_id).where(erasure_bundles.c.erasure_id == before.id)
    try_at_once(tx, bundles.c.id.in_(under), now)
    hastened = tx.change(update(erasures).where(*waits).values(on_demand=True))
    if hastened:
        held = tx.execute(select(bundles).where(bundles.c.id.in_(under))).all()
        until = _mark(tx, custody, held, now)
        tx.change(update(erasures).where(erasures.c.id == before.id).values(resend_until=until))
    tx.audit(
        entry(
            actor,
            Action.ERASURE_REQUESTED,
            now,
            **about(before),
            subject=before.id,
            details={
                "cause": cause,
                "scope": before.scope,
                "hastened" if hastened else "repeated": before.cause,
            },
            particulars={"reason": reason} if reason else {},
        )
    )
    row: Row[Any] = tx.execute(with_case().where(erasures.c.id == before.id)).one()
    return row


def start(
    tx: Transaction,
    actor: Actor,
    held: Sequence[Row[Any]],
    tenant_id: str,
    case_id: str | None,
    scope: str,
    cause: str,
    now: datetime,
    *,
    reason: str = "",
    on_demand: bool = True,
    resend_until: datetime | None = None,
) -> Row[Any]:
    """Begin the erasure of `held` in this transaction: from its commit on nothing opens them.

    Bundles of `held` that are being erased already are proven under this erasure too. For a whole case, call
    `end_with_case` to end the grants to it.
    """
    held = [*held, *live_partials(tx, [bundle.id for bundle in held])]
    id_ = new_id(Kind.ERASURE)
    confirmation = new_confirmation()
    row = {
        "id": id_,
        "confirmation": confirmation,
        "tenant_id": tenant_id,
        "case_id": case_id,
        "scope": scope,
        "cause": cause,
        "on_demand": on_demand,
        "requested_at": now,
        "actor_id": actor.id,
        "resend_until": resend_until,
    }
    tx.change(insert(erasures).values(row))
    requested = entry(
        actor,
        Action.ERASURE_REQUESTED,
        now,
        tenant=tenant_id,
        case=case_id,
        subject=id_,
        details={"cause": cause, "scope": scope, "bundles": len(held)},
        particulars={"confirmation": confirmation, **({"reason": reason} if reason else {})},
    )
    tx.audit(requested)
    if held:
        _begin(tx, actor, held, id_, cause, now)
    else:
        prove(tx, id_, now)
    row_now: Row[Any] = tx.execute(with_case().where(erasures.c.id == id_)).one()
    return row_now


def end_with_case(tx: Transaction, binding: Binding, actor: Actor, case_id: str, now: datetime) -> None:
    """End the grants to a case whose erasure has begun."""
    end_grants(tx, binding, actor, grants.c.case_id == case_id, "erased", now)


def _begin(
    tx: Transaction, actor: Actor, held: Sequence[Row[Any]], erasure_id: str, cause: str, now: datetime
) -> None:
    """* Set `erasing`, with an entry each; bundles that are erasing already are only put under this erasure too."""
    under = [{"erasure_id": erasure_id, "bundle_id": bundle.id} for bundle in held]
    tx.change(insert(erasure_bundles), under)
    begun = [bundle for bundle in held if bundle.state in LIVE]
    going = {"state": BundleState.ERASING, "erased_cause": cause, "writer": None, **UNTRIED}
    tx.change(update(bundles).where(bundles.c.id.in_([bundle.id for bundle in begun])).values(going))
    why = {"cause": cause}
    tx.audit(*[bundle_entry(actor, Action.BUNDLE_ERASING, now, one, erasure_id, why) for one in begun])


def erase_bundle(custody: Custody, bundle_id: str) -> BundleState:
    """Carry out a begun erasure; safe to repeat, and after a crash at any step. Unavailable: try again later."""
    with custody.records.read() as reads:
        bundle = reads.execute(select(bundles).where(bundles.c.id == bundle_id)).first()
    if bundle is None or bundle.state != BundleState.ERASING:
        return BundleState(bundle.state) if bundle else BundleState.ERASED
    custody.keys.destroy(bundle_id)  # nothing that is left can be read from here on
    custody.objects.destroy(bundle_id)
    left = [*custody.keys.remains(bundle_id), *custody.objects.remains(bundle_id)]
    if left:
        raise Unavailable(
            f"{len(left)} keys or objects of bundle {bundle_id} are still there after deletion",
            reason="remains",
        )
    now = custody.clock.now()
    custody.records.write(lambda tx: record_erased(tx, bundle_id, now))  # * erased from here
    return BundleState.ERASED


def find_erasure(custody: Custody, actor: Actor, confirmation: str) -> Row[Any]:
    """Find the erasure with this confirmation number; NotFound if it is another tenant's, or misheard."""
    now = custody.clock.now()
    number = read_confirmation(confirmation)
    with custody.records.read() as reads:
        found = None
        if number is not None:
            mine = (erasures.c.confirmation == number, *_visible(actor))
            found = reads.execute(with_case().where(*mine)).first()
    if found is None:
        if number is None:
            raise NotFound(
                f"{confirmation[:64]!r} is not a confirmation number: a digit is wrong or missing",
                kind="erasure",
            )
        return commit(custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "erasure", number))
    return found


def list_erasures(custody: Custody, actor: Actor, cursor: str | None, limit: int) -> Page[Row[Any]]:
    """List the erasures that the actor is allowed to see, newest first."""
    statement = with_case().where(*_visible(actor))
    with custody.records.read() as reads:
        return fetch_page(reads, statement, erasures.c.requested_at, erasures.c.id, cursor, limit)


def _visible(actor: Actor) -> list[Any]:
    if actor.has(Role.AUDITOR, Role.CASE_SYSTEM):
        return []
    seen: list[Any] = [false()]
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        seen.append(erasures.c.tenant_id == actor.tenant)
    if actor.has(Role.SUPPORT_ENGINEER):  # their cases' erasures, the clock's too, and those they requested
        seen.append(erasures.c.case_id.in_(assigned_cases(actor)))
        seen.append(and_(erasures.c.actor_id == actor.id, erasures.c.cause.in_(_ENGINEERS_CAUSES)))
    return [or_(*seen)]


_CAUSES = {Reason.CASE_CLOSED: "deadline", Reason.MOVED: "deadline", Reason.UNCLAIMED: "unclaimed"}


def begin(tx: Transaction, binding: Binding, due: Sequence[tuple[Row[Any], Reason]], now: datetime) -> None:
    """Begin the erasure of bundles that are due, each for its reason."""
    ordered = sorted(due, key=lambda each: (each[0].case_id or "", each[1]))
    for (case_id, reason), found in groupby(ordered, key=lambda each: (each[0].case_id, each[1])):
        held = [bundle for bundle, _reason in found]
        whole = reason is Reason.CASE_CLOSED
        for group in [held] if whole else [[bundle] for bundle in held]:
            scope, cause = CASE if whole else BUNDLE, _CAUSES[reason]
            start(tx, CLOCK, group, group[0].tenant_id, case_id, scope, cause, now, on_demand=False)
        if whole and case_id is not None:
            end_with_case(tx, binding, CLOCK, case_id, now)
