"""Upload handover: who is allowed to write to an upload, from which offset, and until when.

Rules:
- Its own stamp or the tenant's operator writes to an upload; nobody else learns of it. Only the service writes to a
  final upload (tus: concatenation).
- The bytes continue exactly where the recorded ones end.
- A deferred length is declared once, and fenced by the same transaction as the writer's token: it is never less than
  what is recorded, or more than the quotas have room for, and no earlier writer can pass it.
- An upload's lifetime is renewed only by an entry, so that the log alone tells it: each request that sent bytes writes
  one, a long request one per step of the lifetime (`deadline.must_tell`). From its creation on an upload has at most
  `Limits.upload_longest`. A request without bytes renews it only while nothing is recorded: otherwise it would keep
  parts longer than Blob Storage keeps their staged blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Executable, Row, bindparam, func, select, update

from audit.entry import Action, Detail, Entry
from retention.custody import resending
from retention.custody.context import (
    Custody,
    Refusal,
    about_bundle,
    commit,
    decide,
    entry,
    not_operator_of,
    refuse,
    unseen,
)
from retention.custody.erasure.erasure_steps import BUNDLE, start
from retention.custody.uploads.declaration import refuse_if_erased
from retention.custody.uploads.part_ends import MOST_PARTS
from retention.custody.uploads.quotas import Room, exceeded, room
from retention.domain.actor import Actor, Role
from retention.domain.bundle import BundleState
from retention.domain.deadline import must_tell
from retention.domain.faults import Conflict, Erased, OffsetMismatch, Refused, TooLarge
from retention.domain.grants import Denied
from retention.records.queries import find_upload, partials_of
from retention.records.tables import bundles, parts
from retention.records.unit_of_work import Reads, Transaction


def may_write(custody: Custody, actor: Actor, bundle_id: str) -> tuple[Row[Any], list[str]]:
    """Return the upload, if the actor is its sender (its own stamp, or the tenant's operator), and the partial uploads
    it is made of."""
    return _admit(custody, actor, bundle_id, writing=False)


def may_continue(custody: Custody, actor: Actor, bundle_id: str) -> Row[Any]:
    """Return the upload, if it takes more bytes and the actor is allowed to send them."""
    return still_open(custody, _admit(custody, actor, bundle_id, writing=True)[0])


def still_open(custody: Custody, upload: Row[Any]) -> Row[Any]:
    """Return the upload, unless it continues another way (Conflict) or has expired (Erased)."""
    if upload.state == BundleState.STAGING:
        raise Conflict(
            f"upload {upload.id} arrives in blocks: continue it through its upload link",
            reason="bundle-staging",
        )
    if upload.expires_at <= custody.clock.now() and _can_expire(upload):
        raise Erased(upload.id, state="expired", cause="upload-expired", erased_at=None)
    return upload


def _can_expire(upload: Row[Any]) -> bool:
    return is_unfinished(upload) or (upload.state != BundleState.RECEIVING and bool(upload.partial))


def _admit(custody: Custody, actor: Actor, bundle_id: str, *, writing: bool) -> tuple[Row[Any], list[str]]:
    now = custody.clock.now()

    def look(reads: Reads) -> tuple[Row[Any], list[str]] | Refusal:
        bundle = find_upload(reads, actor, bundle_id, now)
        if bundle is None:
            return unseen(reads, actor, Action.UPLOAD_CONTINUED, now, "bundle", bundle_id)
        denied = _not_the_sender(actor, bundle)
        partials = [] if denied else partials_of(reads, bundle_id)
        if writing and partials:
            denied = Denied(
                "final-upload",
                f"upload {bundle_id} is a final one: its bytes come only from its {len(partials)} partial uploads",
            )
        if denied:
            ids = {"tenant": bundle.tenant_id, "bundle": bundle_id}
            return refuse(reads, actor, Action.UPLOAD_CONTINUED, now, denied, **ids)
        refuse_if_erased(bundle)
        return bundle, partials

    return decide(custody, look)


def _not_the_sender(actor: Actor, bundle: Row[Any]) -> Denied | None:
    own = actor.has(Role.STAMP) and actor.stamp == bundle.stamp_id
    return None if own else not_operator_of(actor, bundle.tenant_id)


_PARTS = select(func.count()).where(parts.c.bundle_id == bundles.c.id).scalar_subquery()
_WITH_PARTS = select(bundles, _PARTS.label("part_count")).where(bundles.c.id == bindparam("bundle"))


@lru_cache(maxsize=64)
def _update(names: frozenset[str], fences: int) -> Executable:
    """Build, once, the update of these columns of an upload that is being received, which returns the row."""
    writers: list[Any] = [bindparam(f"writer_{number}") for number in range(fences)]
    fence = (bundles.c.writer.in_(writers), bundles.c.offset == bindparam("at")) if fences else ()
    which = bundles.c.id == bindparam("bundle"), bundles.c.state == BundleState.RECEIVING, *fence
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    return update(bundles).where(*which).values(values).returning(bundles)


def change_upload(
    tx: Transaction, bundle_id: str, values: Mapping[str, object], writers: Sequence[str] = (), at: int = 0
) -> Row[Any] | None:
    """Change an upload that is being received and return it; with `writers`, only if one of them writes to it `at`
    this offset. None: nothing was changed."""
    new = {f"new_{name}": value for name, value in values.items()}
    fence = {f"writer_{number}": writer for number, writer in enumerate(writers)}
    bound = {"bundle": bundle_id, "at": at, **fence, **new} if writers else {"bundle": bundle_id, **new}
    return tx.execute(_update(frozenset(values), len(writers)), bound).first()


def take_over(
    custody: Custody, actor: Actor, bundle_id: str, token: str, offset: int, told: int | None
) -> tuple[Row[Any], int]:
    """Make `token` the upload's writer from `offset` on; return the upload as it then stands, and its part count."""

    def work(tx: Transaction) -> tuple[Row[Any], int] | Refusal:
        now = custody.clock.now()
        bundle = tx.execute(_WITH_PARTS, {"bundle": bundle_id}).one()
        refuse_if_erased(bundle)
        if bundle.expires_at <= now and is_unfinished(bundle):
            raise Erased(bundle_id, state="expired", cause="upload-expired", erased_at=None)
        if bundle.offset != offset:
            raise OffsetMismatch(bundle.offset)
        if bundle.state != BundleState.RECEIVING:
            raise Conflict(f"this upload is complete: bundle {bundle_id}", reason=f"bundle-{bundle.state}")
        if bundle.part_count >= MOST_PARTS:
            raise Conflict(
                f"this upload has {bundle.part_count} parts; {MOST_PARTS} is the limit: start over with fewer requests",
                reason="too-many-parts",
            )
        length = _length(bundle, told, custody.limits.max_bundle_size)
        ids = {"tenant": bundle.tenant_id, "case": bundle.case_id, "bundle": bundle_id}
        of = custody, bundle.stamp_id, bundle.file_name, length.get("size"), bundle.announced_sha256, now
        if length and (again := resending.sent_again(tx, *of)):
            return refuse(tx, actor, Action.UPLOAD_CONTINUED, now, again, **ids)
        left = room(tx, custody.limits, bundle.stamp_id, bundle.case_id) if length else Room(None, None)
        if over := exceeded(left, length.get("size", 0) - bundle.offset):
            return refuse(tx, actor, Action.UPLOAD_CONTINUED, now, over, **ids)
        until = custody.limits.upload_kept_until(bundle.created_at, now)
        begins = not offset and must_tell(bundle.expires_at, until, custody.limits.upload_lifetime)
        tells = length or begins
        renewed = {"expires_at": until} if tells and not offset else {}
        values = {"writer": token, **length, **renewed}
        fresh = change_upload(tx, bundle_id, values)
        if fresh is None:
            raise RuntimeError(f"upload {bundle_id} changed within its transaction")
        if tells:
            tx.audit(continued(actor, fresh, (offset, offset), now))
        return fresh, bundle.part_count

    try:
        return commit(custody, work)
    except Refused as error:
        if error.reason == resending.REASON:
            _give_up(custody, actor, bundle_id)
        raise


def _give_up(custody: Custody, actor: Actor, bundle_id: str) -> None:
    """Erase an upload that turned out to be an erased bundle: it would otherwise outlast the mark that refused it."""
    now = custody.clock.now()

    def work(tx: Transaction) -> None:
        held = bundles.c.id == bundle_id, bundles.c.state == BundleState.RECEIVING, bundles.c.deferred
        bundle = tx.execute(select(bundles).where(*held)).first()
        if bundle is not None:
            start(tx, actor, [bundle], bundle.tenant_id, bundle.case_id, BUNDLE, resending.REASON, now)

    custody.records.write(work)


def is_unfinished(upload: Row[Any]) -> bool:
    """Return True while bytes are missing: only then does an upload expire. One received whole is finished, if late."""
    missing = upload.deferred or upload.offset < upload.size
    return upload.state == BundleState.RECEIVING and bool(missing)


def _length(bundle: Row[Any], told: int | None, most: int) -> dict[str, Any]:
    if told is None or (told == bundle.size and not bundle.deferred):
        return {}
    if not bundle.deferred:
        raise Conflict(
            f"the length of this upload is {bundle.size} bytes and cannot be changed to {told}",
            reason="length-known",
        )
    if told < bundle.offset:
        raise Conflict(
            f"a length of {told} bytes is too small: {bundle.offset} have come already",
            reason="length-below-offset",
        )
    if told > most:
        raise TooLarge(f"a length of {told} bytes was declared; a bundle can have at most {most}", limit=most)
    return {"size": told, "deferred": False}


def continued(actor: Actor, bundle: Row[Any], run: tuple[int, int], now: datetime) -> Entry:
    """Make the entry of the bytes received between the offsets of `run`, which may be equal; the same commit renews the
    upload's lifetime."""
    from_, to = run
    whole: dict[str, Detail] = {} if bundle.deferred else {"of": bundle.size}
    details: dict[str, Detail] = {"from": from_, "to": to, **whole}
    return entry(actor, Action.UPLOAD_CONTINUED, now, **about_bundle(bundle), details=details)
