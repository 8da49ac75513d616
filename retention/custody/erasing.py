"""Erasure: begun by the timer or by a request, carried through by whoever comes next (P4, P5, P7, P8).

Order of writing, for each bundle:
  * state `erasing` + entry -> destroy the data key -> delete objects -> prove absence
  -> * state `erased` (tombstone) + entry; with the last bundle: * erasure proven + receipt + entry
Every step is idempotent and derived from state, so a crash anywhere is resumed by the next sweep. From `erasing` there
is no way back: the bundle is unreadable at once, whatever still lies on the store.

- The customer can have a case or one bundle erased at any time; an engineer can do it for them, with a reason.
- The confirmation number is given at once, the receipt when the erasure is proven. On-demand work goes first.
- The automatic erasure notifies nobody; its receipt is there for who asks.
- A bundle that is made of partial uploads takes those along that are left: they hold the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from audit.entry import Action, Entry
from audit.times import rfc3339
from retention.actor import CLOCK, Actor, Role
from retention.bundle import LIVE, BundleState
from retention.custody import receipts
from retention.custody.context import Custody, Turned, commit, entry, not_operator_of, refuse, unseen
from retention.custody.ending import end_grants
from retention.errors import NotFound, Unavailable
from retention.grants import Denied, check_reason
from retention.ids import Kind, new_confirmation, new_id, read_confirmation
from retention.receipt import ERASURE, body_hash
from retention.records.pages import Page, fetch_page
from retention.records.queries import find_bundle, find_case, is_assigned, live_partials
from retention.records.tables import bundles, cases, erasure_bundles, erasures, grants, parts, staged_blocks
from retention.records.unit_of_work import Reads, Transaction

METHOD = "data key destroyed; objects deleted; absence verified"
CASE, BUNDLE = "case", "bundle"


def request_case_erasure(custody: Custody, actor: Actor, number: str, reason: str = "") -> Row[Any]:
    """Have all of a case's bundles erased. The erasure, with its confirmation number."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Turned:
        case = find_case(tx, actor, number, now)
        if case is None:
            return unseen(tx, actor, Action.ERASURE_REQUESTED, now, "case", number)
        denied = _may_request(tx, actor, case.tenant_id, case.id, reason)
        if denied:
            return refuse(
                tx, actor, Action.ERASURE_REQUESTED, now, denied, tenant=case.tenant_id, case=case.id
            )
        left = bundles.c.case_id == case.id, bundles.c.state != BundleState.ERASED
        held = tx.execute(select(bundles).where(*left)).all()
        before = _last(tx, erasures.c.case_id == case.id, erasures.c.scope == CASE)
        if before is not None and not any(bundle.state in LIVE for bundle in held):
            return before
        cause = _cause(actor, case.tenant_id)
        return start(tx, actor, held, case.tenant_id, case.id, CASE, cause, now, reason=reason)

    return commit(custody, work)


def request_bundle_erasure(custody: Custody, actor: Actor, bundle_id: str, reason: str = "") -> Row[Any]:
    """Have one bundle erased. The erasure, with its confirmation number; the same one when it is asked for again."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Turned:
        bundle = find_bundle(tx, actor, bundle_id, now)
        if bundle is None:
            return unseen(tx, actor, Action.ERASURE_REQUESTED, now, "bundle", bundle_id)
        denied = _may_request(tx, actor, bundle.tenant_id, bundle.case_id, reason)
        if denied:
            return refuse(
                tx,
                actor,
                Action.ERASURE_REQUESTED,
                now,
                denied,
                tenant=bundle.tenant_id,
                case=bundle.case_id,
                bundle=bundle_id,
            )
        if bundle.state not in LIVE:
            under = select(erasure_bundles.c.erasure_id).where(erasure_bundles.c.bundle_id == bundle_id)
            before = _last(tx, erasures.c.id.in_(under))
            if before is not None:
                return before
        cause, tenant = _cause(actor, bundle.tenant_id), bundle.tenant_id
        return start(tx, actor, [bundle], tenant, bundle.case_id, BUNDLE, cause, now, reason=reason)

    return commit(custody, work)


def _may_request(reads: Reads, actor: Actor, tenant: str, case_id: str | None, reason: str) -> Denied | None:
    if not_operator_of(actor, tenant) is None:
        return None
    if not actor.has(Role.SUPPORT_ENGINEER):
        return Denied(
            "role-missing", "the customer's operator, or an engineer for them, can have data erased"
        )
    if case_id is None or not is_assigned(reads, case_id, actor.id):
        return Denied("not-assigned", "you are not assigned to this case")
    return check_reason(reason)


def _cause(actor: Actor, tenant: str) -> str:
    return "customer-request" if not_operator_of(actor, tenant) is None else "engineer-for-customer"


def _last(tx: Transaction, *which: Any) -> Row[Any] | None:
    newest = _with_case().where(*which).order_by(erasures.c.requested_at.desc()).limit(1)
    row: Row[Any] | None = tx.execute(newest).first()
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
) -> Row[Any]:
    """Begin the erasure of `held` in this transaction: from its commit on nothing opens them.

    Bundles of `held` whose erasure is under way already are proven under this one too.
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
        tx.change(insert(erasure_bundles), [{"erasure_id": id_, "bundle_id": bundle.id} for bundle in held])
        going = {"state": BundleState.ERASING, "erased_cause": cause, "writer": None}
        begun = [bundle for bundle in held if bundle.state in LIVE]
        tx.change(update(bundles).where(bundles.c.id.in_([bundle.id for bundle in begun])).values(going))
        tx.audit(*[_of(actor, Action.BUNDLE_ERASING, now, bundle, id_, {"cause": cause}) for bundle in begun])
    else:
        _prove(tx, id_, now)
    if scope == CASE:
        end_grants(tx, actor, grants.c.case_id == case_id, "erased", now)
    row_now: Row[Any] = tx.execute(_with_case().where(erasures.c.id == id_)).one()
    return row_now


def _with_case() -> Any:
    """Erasures, with the case's number beside each: what callers are shown."""
    return select(erasures, cases.c.number).join_from(erasures, cases, isouter=True)


def _of(
    actor: Actor, action: Action, now: datetime, bundle: Row[Any], erasure: str, details: dict[str, Any]
) -> Entry:
    return entry(
        actor,
        action,
        now,
        tenant=bundle.tenant_id,
        case=bundle.case_id,
        bundle=bundle.id,
        subject=erasure,
        details=details,
    )


def erase_bundle(custody: Custody, bundle_id: str) -> BundleState:
    """Carry a begun erasure through; safe to repeat, and after a crash at any step. Unavailable: try again later."""
    with custody.records.read() as reads:
        bundle = reads.execute(select(bundles).where(bundles.c.id == bundle_id)).first()
    if bundle is None or bundle.state != BundleState.ERASING:
        return BundleState(bundle.state) if bundle else BundleState.ERASED
    custody.keys.destroy(bundle_id)  # from here on nothing that is left can be read
    custody.objects.destroy(bundle_id)
    left = [*custody.keys.remains(bundle_id), *custody.objects.remains(bundle_id)]
    if left:
        raise Unavailable(
            f"{len(left)} objects of {bundle_id} are still there after deletion", reason="remains"
        )
    now = custody.clock.now()
    custody.records.write(lambda tx: _record_erased(tx, bundle_id, now))  # * erased from here
    return BundleState.ERASED


def _record_erased(tx: Transaction, bundle_id: str, now: datetime) -> None:
    bundle = tx.execute(select(bundles).where(bundles.c.id == bundle_id)).one()
    if bundle.state != BundleState.ERASING:
        return
    # The tombstone keeps sizes, digests and times; what a person wrote goes.
    stone = {
        "state": BundleState.ERASED,
        "erased_at": now,
        "file_name": "",
        "roles": "[]",
        "announced_sha256": None,
        "blob_name": None,
        "blob_facts": None,
        "due_at": None,
    }
    tx.change(update(bundles).where(bundles.c.id == bundle_id).values(stone))
    tx.change(delete(parts).where(parts.c.bundle_id == bundle_id))
    tx.change(delete(staged_blocks).where(staged_blocks.c.bundle_id == bundle_id))
    under = select(erasure_bundles.c.erasure_id).where(erasure_bundles.c.bundle_id == bundle_id)
    for erasure_id in tx.execute(under).scalars().all():
        details = {"cause": bundle.erased_cause, "size": bundle.offset, "method": METHOD}
        tx.audit(_of(CLOCK, Action.BUNDLE_ERASED, now, bundle, erasure_id, details))
        _prove(tx, erasure_id, now)


def _prove(tx: Transaction, erasure_id: str, now: datetime) -> None:
    """* The erasure is proven when its last bundle is erased; the receipt's hash stands in that entry's leaf."""
    joined = select(bundles).join(erasure_bundles, erasure_bundles.c.bundle_id == bundles.c.id)
    held = tx.execute(joined.where(erasure_bundles.c.erasure_id == erasure_id).order_by(bundles.c.id)).all()
    pending = erasures.c.id == erasure_id, erasures.c.proven_at.is_(None)
    if any(bundle.state != BundleState.ERASED for bundle in held):
        return
    if not tx.change(update(erasures).where(*pending).values(proven_at=now)):
        return
    erasure = tx.execute(_with_case().where(erasures.c.id == erasure_id)).one()
    body = receipts.body(_receipt(erasure, held))
    proven = entry(
        CLOCK,
        Action.ERASURE_PROVEN,
        now,
        tenant=erasure.tenant_id,
        case=erasure.case_id,
        subject=erasure_id,
        details={"bundles": len(held), "receipt": body_hash(body)},
    )
    tx.audit(proven)
    receipts.keep(tx, erasure_id, ERASURE, body, proven.id, now)


def _receipt(erasure: Row[Any], held: Sequence[Row[Any]]) -> dict[str, Any]:
    return {
        "format": ERASURE,
        "erasure": erasure.id,
        "confirmation": erasure.confirmation,
        "scope": erasure.scope,
        "cause": erasure.cause,
        "case": erasure.number or "",
        "requested_at": rfc3339(erasure.requested_at),
        "proven_at": rfc3339(erasure.proven_at),
        "method": METHOD,
        "bundles": [
            {
                "bundle": bundle.id,
                "size": bundle.offset,
                "sha256": bundle.sha256 or "",
                "manifest": bundle.manifest or "",
                "erased_at": rfc3339(bundle.erased_at),
            }
            for bundle in held
        ],
    }


def find_erasure(custody: Custody, actor: Actor, confirmation: str) -> Row[Any]:
    """The erasure with this confirmation number; NotFound when it is another tenant's, or misheard."""
    now = custody.clock.now()
    number = read_confirmation(confirmation)
    with custody.records.read() as reads:
        found = None
        if number is not None:
            mine = (erasures.c.confirmation == number, *_visible(actor))
            found = reads.execute(_with_case().where(*mine)).first()
    if found is None:
        if number is None:
            raise NotFound("this is not a confirmation number: a digit is wrong or missing", kind="erasure")
        return commit(custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "erasure", number))
    return found


def list_erasures(custody: Custody, actor: Actor, cursor: str | None, limit: int) -> Page[Row[Any]]:
    """The erasures that the actor may see, newest first."""
    statement = _with_case().where(*_visible(actor))
    with custody.records.read() as reads:
        return fetch_page(reads, statement, erasures.c.requested_at, erasures.c.id, cursor, limit)


def _visible(actor: Actor) -> list[Any]:
    if actor.has(Role.AUDITOR, Role.CASE_SYSTEM):
        return []
    if actor.has(Role.OPERATOR):
        return [erasures.c.tenant_id == actor.tenant]
    return [erasures.c.actor_id == actor.id]
