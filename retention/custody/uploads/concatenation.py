"""Concatenation: a bundle made of partial uploads sent in parallel (tus: concatenation).

Order of writing:
  * the final upload's record + what it is made of + entry
  -> each partial upload opened and sealed again, part by part: durable object -> * record the part   (`upload_session`)
  -> * state `received` + entry, and the erasure of the partial uploads begins in the same commit     (`completion`)
A crash in between leaves an upload at its offset: repeating the request goes on there.

Rules:
- A partial upload has no collection and is not a bundle: it is in no list, and cannot be read, claimed or verified. It
  belongs to the stamp that sends it, expires, and is erased like anything else.
- Each bundle has its own data key, and associated data that names it (P1, P7): so the bytes are sealed again for the
  bundle, not referred to. Plaintext is in memory only.
- The partial uploads of a final one are complete, from one stamp, and used once. Requesting the same list again
  returns the same upload.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, insert, select

from audit.entry import Action
from retention.custody.access.bound_access import Altered, check_row
from retention.custody.context import Custody, Refusal, alarmed, commit, entry, refuse
from retention.custody.uploads.completion import opener, received_manifest
from retention.custody.uploads.declaration import announce, finish_empty, refuse_unkeepable, sender
from retention.custody.uploads.handover import may_write
from retention.custody.uploads.lease import Uploads
from retention.custody.uploads.quotas import exceeded, room
from retention.custody.uploads.unfinished import find_upload
from retention.custody.uploads.upload_session import UploadSession, open_session
from retention.domain.actor import Actor
from retention.domain.bundle import BundleState, Collection, check_collection
from retention.domain.deadline import RETENTION
from retention.domain.faults import Conflict, Invalid, TakenOver, TooLarge
from retention.domain.ids import Kind, new_id
from retention.domain.row_tag import BUNDLE
from retention.objects.store_errors import KeyDestroyed
from retention.records.queries import final_of, partials_of
from retention.records.tables import bundles, concatenations
from retention.records.unit_of_work import Transaction

PARTIAL = "partial"
"""Stands in for the collection type in a partial upload's record."""


def create_partial(
    custody: Custody, actor: Actor, size: int | None, stamp_id: str | None, metadata: str | None = None
) -> Row[Any]:
    """Declare a partial upload of `size` bytes; None: the size comes with them. An empty one is received at once."""
    now, most = custody.clock.now(), custody.limits.max_bundle_size
    if size is not None and size > most:
        raise TooLarge(f"{size} bytes were declared; a bundle can have at most {most}", limit=most)
    refuse_unkeepable(custody)
    id_ = new_id(Kind.BUNDLE)

    def work(tx: Transaction) -> Row[Any] | Refusal:
        stamp = sender(tx, actor, stamp_id, now)
        if isinstance(stamp, Refusal):
            return stamp
        if over := exceeded(room(tx, custody.limits, stamp.id, None), size or 0):
            ids = {"tenant": stamp.tenant_id, "subject": stamp.id}
            return refuse(tx, actor, Action.UPLOAD_CREATED, now, over, **ids)
        row = {
            "id": id_,
            "tenant_id": stamp.tenant_id,
            "stamp_id": stamp.id,
            "uploader_id": actor.id,
            "partial": True,
            "deferred": size is None,
            "size": size or 0,
            "offset": 0,
            "state": BundleState.RECEIVING,
            "created_at": now,
            "expires_at": custody.limits.upload_kept_until(now, now),
            "due_at": now + RETENTION,
            "case_id": None,
            "upload_metadata": metadata,
            **_NO_COLLECTION,
            **dict.fromkeys(("logs_start", "logs_end", "time_collected"), now),
        }
        row["tag"] = custody.binding.tag_row(BUNDLE, row)
        tx.change(insert(bundles).values(row))
        tx.audit(
            entry(
                actor,
                Action.UPLOAD_CREATED,
                now,
                tenant=stamp.tenant_id,
                bundle=id_,
                subject=stamp.id,
                details={"type": PARTIAL, "size": size or 0},
            )
        )
        return tx.execute(select(bundles).where(bundles.c.id == id_)).one()

    made = commit(custody, work)
    return made if size is None or size else finish_empty(custody, actor, made.id)


_NO_COLLECTION = {"type": PARTIAL, "send_logs_now": False, "roles": "[]", "file_name": ""}


def concatenate(
    custody: Custody,
    uploads: Uploads,
    actor: Actor,
    collection: Collection,
    partial_ids: Sequence[str],
    *,
    case_number: str | None,
    stamp_id: str | None,
    metadata: str | None = None,
) -> Row[Any]:
    """Make and receive the bundle of these partial uploads, in this order; its size is the sum of theirs."""
    _check_list(custody, partial_ids)
    final = _asked_before(custody, actor, partial_ids)
    if final is None:
        final = _create_final(custody, actor, collection, partial_ids, case_number, stamp_id, metadata)
    if final.state == BundleState.RECEIVING:
        with open_session(custody, uploads, actor, final.id, final.offset) as session:
            _seal_again(custody, session, final, partial_ids)
    return may_write(custody, actor, final.id)[0]


def _check_list(custody: Custody, partial_ids: Sequence[str]) -> None:
    most = custody.limits.max_partials
    if not 1 <= len(partial_ids) <= most:
        raise Invalid(
            f"{len(partial_ids)} partial uploads were listed; a final upload is made of 1 to {most}",
            {"Upload-Concat": f"must list 1 to {most}"},
        )
    if len(set(partial_ids)) < len(partial_ids):
        twice = Counter(partial_ids).most_common(1)[0][0]
        raise Invalid(
            f"partial upload {twice} is listed twice", {"Upload-Concat": "must list each upload once"}
        )


def _asked_before(custody: Custody, actor: Actor, partial_ids: Sequence[str]) -> Row[Any] | None:
    with custody.records.read() as reads:
        final_id = final_of(reads, partial_ids[0])
        same = final_id is not None and partials_of(reads, final_id) == list(partial_ids)
    return may_write(custody, actor, final_id)[0] if final_id and same else None


def _create_final(
    custody: Custody,
    actor: Actor,
    collection: Collection,
    partial_ids: Sequence[str],
    case_number: str | None,
    stamp_id: str | None,
    metadata: str | None,
) -> Row[Any]:
    partials = [_complete(find_upload(custody, actor, partial_id)) for partial_id in partial_ids]
    most = custody.limits.max_bundle_size
    size = sum(partial.size for partial in partials)
    if size > most:
        raise TooLarge(
            f"the partial uploads have {size} bytes together; a bundle can have at most {most}", limit=most
        )
    whole = replace(collection, size=size)
    check_collection(whole, custody.triggers, most, custody.clock.now())

    def work(tx: Transaction) -> Row[Any] | Refusal:
        more = {"upload_metadata": metadata}
        final = announce(tx, custody, actor, whole, case_number, stamp_id, more, size, partial_ids)
        if isinstance(final, Refusal):
            return final
        for number, partial_id in enumerate(partial_ids):
            partial = tx.execute(select(bundles).where(bundles.c.id == partial_id)).one()
            check_row(custody.binding, BUNDLE, partial)
            if partial.stamp_id != final.stamp_id:
                raise Conflict(
                    f"partial upload {partial_id} belongs to another stamp than this final upload",
                    reason="another-stamp",
                )
            if _complete(partial) and final_of(tx, partial_id):
                raise Conflict(
                    f"partial upload {partial_id} was used in a final upload already; it can be used once",
                    reason="partial-used",
                )
            row = {"final_id": final.id, "number": number, "partial_id": partial_id}
            tx.change(insert(concatenations).values(row))
        return final

    return commit(custody, work)


def _complete(partial: Row[Any]) -> Row[Any]:
    if not partial.partial:
        raise Conflict(
            f"upload {partial.id} is not a partial one, so it cannot be joined", reason="not-partial"
        )
    if partial.state != BundleState.RECEIVED:
        raise Conflict(
            f"partial upload {partial.id} is incomplete: finish it before joining",
            reason="partial-incomplete",
            upload=partial.id,
        )
    return partial


def _seal_again(
    custody: Custody, session: UploadSession, final: Row[Any], partial_ids: Sequence[str]
) -> None:
    try:
        for piece in _pieces(custody, final, partial_ids, session.position):
            session.feed(piece)
    except TakenOver:
        session.park()  # repeating the request goes on from here
        raise
    except (
        KeyDestroyed
    ):  # a partial upload's key: the bundle is being erased, or another request completed it
        session.check_mine()
        raise
    session.park()


def _pieces(custody: Custody, final: Row[Any], partial_ids: Sequence[str], skip: int) -> Iterator[bytes]:
    """Yield the plaintext of the partial uploads end to end, from byte `skip` on."""
    for partial_id in partial_ids:
        with alarmed():
            _check_part_of(custody, final, partial_id)
            manifest = received_manifest(custody, partial_id)
        from_ = min(skip, manifest.length)
        skip -= from_
        if from_ < manifest.length:
            with opener(custody, manifest) as sealed:
                yield from sealed.read(from_, manifest.length - from_)


def _check_part_of(custody: Custody, final: Row[Any], partial_id: str) -> None:
    """Raise Altered unless the bound row is a partial upload of the same stamp: nothing else is opened here (P2)."""
    with custody.records.read() as reads:
        partial = reads.execute(select(bundles).where(bundles.c.id == partial_id)).one()
    check_row(custody.binding, BUNDLE, partial)
    check_row(custody.binding, BUNDLE, final)
    if not partial.partial or partial.stamp_id != final.stamp_id:
        raise Altered(f"bundle {partial_id} is not a partial upload of the stamp that sent {final.id}")
