"""The records of bundles: declared by a stamp, listed, claimed by a case.

Rules:
- Only a registered stamp uploads; its operator can send a saved bundle in its name.
- A proactive collection needs the live consent for that stamp and a known trigger; it can come without a case.
- A bundle erased on demand is refused for a while when it is sent again (`resending`).
- The quotas of the stamp and the case are checked before bytes move (`quotas`).
- An on-demand collection is for a case of the same tenant. A closed case takes bundles: they share its deadline.
- An engineer assigned to an open case can claim an unclaimed bundle of the same tenant for it; from then on the case's
  clock alone counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, insert, select, update

from audit.entry import Action, Detail
from retention.custody.access.bound_access import check_placed, check_row, put_in, read_newest_access
from retention.custody.context import Custody, Refusal, about_case, commit, entry, lacks_role, refuse, unseen
from retention.custody.resending import sent_again
from retention.custody.uploads.completion import finish_upload
from retention.custody.uploads.quotas import Room, exceeded, room
from retention.domain.actor import Actor, Role
from retention.domain.bundle import BundleState, Collection, CollectionType, check_collection, check_unsized
from retention.domain.case import CaseState
from retention.domain.deadline import BundleHistory, Erase, decide, due
from retention.domain.faults import Conflict, Erased, Invalid
from retention.domain.grants import Denied
from retention.domain.ids import Kind, new_id
from retention.domain.row_tag import BUNDLE, Binding
from retention.objects.store_errors import StoreFull
from retention.records.bundle_list import Wanted, find_bundles, with_case
from retention.records.queries import Page, bundle_history, case_history, find_bundle, refresh_due
from retention.records.tables import bundles, cases, stamps
from retention.records.unit_of_work import Transaction
from retention.records.visibility import visible_bundles, visible_cases

NOTHING_CAME = "nothing-came"
"""The cause of erasing a bundle that never had a recorded byte: its tombstone is in no list."""


def refuse_unkeepable(custody: Custody) -> None:
    """Raise StoreFull or a KeyWrapperError, before an upload begins, if none of its bytes could be kept or sealed."""
    if custody.objects.free_space() == 0:
        raise StoreFull("the store has no room for uploads")
    custody.key_check.require(custody.wrapper)


def create_upload(
    custody: Custody,
    actor: Actor,
    collection: Collection,
    *,
    case_number: str | None,
    stamp_id: str | None,
    deferred: bool = False,
    metadata: str | None = None,
) -> Row[Any]:
    """Declare a bundle; its bytes follow by `upload_session.begin`. `stamp_id` is for operators; a stamp sends its own.

    `deferred`: the size comes with the bytes; until then the collection's is ignored. An empty bundle is received as
    soon as it is declared. `metadata` is the sender's own, kept unchanged until the bundle is erased.
    """
    refuse_unkeepable(custody)
    now = custody.clock.now()
    if deferred:
        collection = replace(collection, size=0)
        check_unsized(collection, custody.triggers, now)
    else:
        check_collection(collection, custody.triggers, custody.limits.max_bundle_size, now)
    more = {"deferred": deferred, "upload_metadata": metadata}
    made = commit(custody, lambda tx: announce(tx, custody, actor, collection, case_number, stamp_id, more))
    return made if deferred or collection.size else finish_empty(custody, actor, made.id)


def finish_empty(custody: Custody, actor: Actor, bundle_id: str) -> Row[Any]:
    """Receive an upload of no bytes as soon as it is declared, for none will ever come; return its row."""
    finish_upload(custody, actor, bundle_id)
    with custody.records.read() as reads:
        return reads.execute(select(bundles).where(bundles.c.id == bundle_id)).one()


def check_upload(
    custody: Custody, actor: Actor, collection: Collection, *, case_number: str | None, stamp_id: str | None
) -> Room:
    """Raise whatever `create_upload` would raise now, without making anything; else return the room in the quotas."""
    refuse_unkeepable(custody)
    check_collection(collection, custody.triggers, custody.limits.max_bundle_size, custody.clock.now())

    def work(tx: Transaction) -> Room | Refusal:
        admitted = _admit(tx, custody, actor, collection, collection.size, case_number, stamp_id, 0)
        return admitted if isinstance(admitted, Refusal) else admitted[2]

    return commit(custody, work)


def announce(
    tx: Transaction,
    custody: Custody,
    actor: Actor,
    collection: Collection,
    case_number: str | None,
    stamp_id: str | None,
    more: Mapping[str, Any] | None = None,
    brought: int = 0,
    partials: Sequence[str] = (),
) -> Row[Any] | Refusal:
    """Make the record of an acceptable collection's bundle, if the actor is allowed to send it. `more` adds to the row;
    `brought` of its bytes are here and counted already, in `partials`."""
    size = None if (more or {}).get("deferred") else collection.size
    admitted = _admit(tx, custody, actor, collection, size, case_number, stamp_id, brought)
    if isinstance(admitted, Refusal):
        return admitted
    stamp, case_id, _room = admitted
    now = custody.clock.now()
    id_ = new_id(Kind.BUNDLE)
    return insert_bundle(tx, custody, id_, actor, stamp, case_id, collection, now, more, partials)


def _admit(
    tx: Transaction,
    custody: Custody,
    actor: Actor,
    collection: Collection,
    size: int | None,
    case_number: str | None,
    stamp_id: str | None,
    brought: int,
) -> tuple[Row[Any], str | None, Room] | Refusal:
    """Return the sending stamp, the case and the room in the quotas; or the refusal, with its entry. `size` None: it
    comes later."""
    now = custody.clock.now()
    stamp = sender(tx, actor, stamp_id, now)
    if isinstance(stamp, Refusal):
        return stamp
    if denied := may_collect(stamp, collection):
        return refuse(tx, actor, Action.UPLOAD_CREATED, now, denied, tenant=stamp.tenant_id, subject=stamp.id)
    case_id = None
    if case_number is not None:
        held = and_(cases.c.number == case_number, cases.c.tenant_id == stamp.tenant_id)
        case_id = tx.execute(select(cases.c.id).where(held)).scalar()
        if case_id is None:
            return unseen(tx, actor, Action.UPLOAD_CREATED, now, "case", case_number)
    elif collection.type is CollectionType.ON_DEMAND:
        raise Invalid("an on-demand collection needs a case", {"case": "is missing: give the case number"})
    check_deadline(tx, case_id, now)
    ids = {"tenant": stamp.tenant_id, "case": case_id, "subject": stamp.id}
    if again := sent_again(tx, custody, stamp.id, collection.file_name, size, collection.sha256, now):
        return refuse(tx, actor, Action.UPLOAD_CREATED, now, again, **ids)
    left = room(tx, custody.limits, stamp.id, case_id)
    if over := exceeded(left, collection.size, brought):
        return refuse(tx, actor, Action.UPLOAD_CREATED, now, over, **ids)
    return stamp, case_id, left


def check_deadline(tx: Transaction, case_id: str | None, now: datetime) -> BundleHistory:
    """Return the history of a bundle that begins now; Conflict if it would be due for erasure at once."""
    history = BundleHistory(now, case_history(tx, case_id) if case_id else None)
    if isinstance(decide(history, now), Erase):
        raise Conflict("this case closed 90 or more days ago: reopen it first", reason="case-past-deadline")
    return history


def sender(tx: Transaction, actor: Actor, stamp_id: str | None, now: datetime) -> Row[Any] | Refusal:
    """Return the registered stamp that sends: the actor itself, or the one that its operator names."""
    if denied := lacks_role(actor, Role.STAMP, Role.OPERATOR):
        return refuse(tx, actor, Action.UPLOAD_CREATED, now, denied)
    stamp = _sender(tx, actor, stamp_id)
    if stamp is None and stamp_id is None:
        return refuse(tx, actor, Action.UPLOAD_CREATED, now, _no_sender(actor))
    return unseen(tx, actor, Action.UPLOAD_CREATED, now, "stamp", stamp_id or "") if stamp is None else stamp


def _sender(tx: Transaction, actor: Actor, stamp_id: str | None) -> Row[Any] | None:
    live = stamps.c.deregistered_at.is_(None)
    if actor.stamp is not None and stamp_id in (None, actor.stamp):
        return tx.execute(select(stamps).where(stamps.c.id == actor.stamp, live)).first()
    if not actor.has(Role.OPERATOR) or actor.tenant is None:
        return None
    own = and_(stamps.c.id == stamp_id, stamps.c.tenant_id == actor.tenant, live)
    return tx.execute(select(stamps).where(own)).first()


def _no_sender(actor: Actor) -> Denied:
    if actor.has(Role.STAMP):
        return Denied(
            "stamp-not-registered", "the caller is not a registered stamp; have its operator register it"
        )
    return Denied("stamp-missing", "no stamp is given: name the one of yours that made the bundle")


def may_collect(stamp: Row[Any], collection: Collection) -> Denied | None:
    """Return None if the stamp's operator lets it collect this, else the denial."""
    if collection.type is CollectionType.PROACTIVE and not stamp.proactive:
        return Denied(
            "no-proactive-consent",
            f"the operator has not consented to proactive collection from stamp {stamp.id}; have them turn it on",
        )
    return None


def insert_bundle(
    tx: Transaction,
    custody: Custody,
    id_: str,
    actor: Actor,
    stamp: Row[Any],
    case_id: str | None,
    c: Collection,
    now: datetime,
    more: Mapping[str, Any] | None = None,
    partials: Sequence[str] = (),
) -> Row[Any]:
    """Insert the row of a bundle whose bytes are to come, with the entry of its creation. `more` adds to the row;
    `partials` are the partial uploads it is made of."""
    details: dict[str, Detail] = {"partials": list(partials)} if partials else {}
    history = check_deadline(tx, case_id, now)
    row = {
        "id": id_,
        "tenant_id": stamp.tenant_id,
        "stamp_id": stamp.id,
        "case_id": case_id,
        "uploader_id": actor.id,
        "state": BundleState.RECEIVING,
        "type": c.type,
        "send_logs_now": c.send_logs_now,
        "logs_start": c.logs_start,
        "logs_end": c.logs_end,
        "time_collected": c.time_collected,
        "trigger": c.trigger,
        "roles": json.dumps(list(c.roles)),
        "file_name": c.file_name,
        "size": c.size,
        "announced_sha256": c.sha256,
        "created_at": now,
        "expires_at": custody.limits.upload_kept_until(now, now),
        "offset": 0,
        "due_at": due(history)[0],
        "partial": False,
        **(more or {}),
    }
    row["tag"] = custody.binding.tag_row(BUNDLE, row)
    tx.change(insert(bundles).values(row))
    tx.audit(
        entry(
            actor,
            Action.UPLOAD_CREATED,
            now,
            tenant=stamp.tenant_id,
            case=case_id,
            bundle=id_,
            subject=stamp.id,
            details={"type": c.type.value, "size": c.size, **details},
            particulars={"file_name": c.file_name},
        )
    )
    return tx.execute(select(bundles).where(bundles.c.id == id_)).one()


def claim_bundle(custody: Custody, actor: Actor, bundle_id: str, case_number: str) -> Row[Any]:
    """Claim an unclaimed bundle for a case. Role: an engineer assigned to that case."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Refusal:
        bundle = find_bundle(tx, actor, bundle_id, now)
        if bundle is None:
            return unseen(tx, actor, Action.BUNDLE_CLAIMED, now, "bundle", bundle_id)
        case = tx.execute(
            select(cases).where(cases.c.number == case_number, visible_cases(actor, now))
        ).first()
        if case is None or case.tenant_id != bundle.tenant_id:
            return unseen(tx, actor, Action.BUNDLE_CLAIMED, now, "case", case_number)
        if denied := _may_claim(tx, custody.binding, actor, case):
            return refuse(tx, actor, Action.BUNDLE_CLAIMED, now, denied, **about_case(case), bundle=bundle_id)
        refuse_if_erased(bundle)
        check_row(custody.binding, BUNDLE, bundle)
        check_placed(tx, bundle_id, bundle.case_id)
        if bundle.case_id is not None:
            raise Conflict(
                f"bundle {bundle_id} is in a case already, so it cannot be claimed", reason="claimed"
            )
        if isinstance(decide(bundle_history(tx, bundle), now), Erase):  # P9 holds even if the sweep is late
            raise Conflict(
                f"the 90 days of bundle {bundle_id} are over: it is about to be erased", reason="bundle-due"
            )
        put = put_in(custody.binding, bundle, case.id)
        tx.change(update(bundles).where(bundles.c.id == bundle_id).values(put))
        refresh_due(tx, bundles.c.id == bundle_id)
        tx.audit(entry(actor, Action.BUNDLE_CLAIMED, now, **about_case(case), bundle=bundle_id))
        return tx.execute(select(bundles).where(bundles.c.id == bundle_id)).one()

    return commit(custody, work)


def _may_claim(tx: Transaction, binding: Binding, actor: Actor, case: Row[Any]) -> Denied | None:
    if denied := lacks_role(actor, Role.SUPPORT_ENGINEER):
        return denied
    access = read_newest_access(tx, binding, case.id)
    if not access.facts(actor).assigned:
        return Denied("not-assigned", "you are not assigned to this case; have the case system assign you")
    if access.state is not CaseState.OPEN:
        return Denied("case-closed", "the case is closed, so bundles can no longer be claimed for it")
    return None


def refuse_if_erased(bundle: Row[Any]) -> None:
    """Raise Erased, with the tombstone's facts, if the bundle is erased or being erased."""
    if bundle.state in (BundleState.ERASING, BundleState.ERASED):
        raise Erased(
            bundle.id, state=str(bundle.state), cause=bundle.erased_cause, erased_at=bundle.erased_at
        )


def get_bundle(custody: Custody, actor: Actor, bundle_id: str) -> Row[Any]:
    """Return a bundle's record or tombstone, with the case's number; NotFound if the actor is not allowed to see it."""
    now = custody.clock.now()
    with custody.records.read() as reads:
        bundle = reads.execute(
            with_case().where(bundles.c.id == bundle_id, visible_bundles(actor, now))
        ).first()
    if bundle is None:
        return commit(custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "bundle", bundle_id))
    return bundle


def list_bundles(
    custody: Custody,
    actor: Actor,
    cursor: str | None,
    limit: int,
    *,
    case_number: str | None = None,
    stamp_id: str | None = None,
    type_: str | None = None,
    states: Sequence[BundleState] | None = None,
    unclaimed: bool = False,
) -> Page[Row[Any]]:
    """List the collection history, newest first by the time collected, with each bundle's case number."""
    wanted = Wanted(case=case_number, stamp=stamp_id, type=type_, states=states, unclaimed=unclaimed)
    with custody.records.read() as reads:
        now = custody.clock.now()
        return find_bundles(reads, actor, wanted, now, cursor, limit, hidden=NOTHING_CAME)
