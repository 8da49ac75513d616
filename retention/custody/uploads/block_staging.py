"""Blobs that arrive in blocks, through an upload link: in parallel, in any order, sealed on arrival (P1).

Order of writing
  block:   seal -> durable object -> * record the block
  commit:  * the list's blocks become parts, in the list's order -> completion.finish_upload
- A block is checked against the limits when it begins, so that its bytes need not be sent, and when it is recorded.
- A block is one part. A commit copies nothing: the list only gives the parts their places.
- A block sent under an id already used replaces the earlier block.
- A blob begins with its first block and is completed once, never overwritten; its name is free again when it is erased.
- An empty blob, which holds nothing, gives way: a block sent under its name begins its erasure, in the same commit.
  Clients make one before they send (pyarrow) or to start a name over (rclone).
- A sender sees only the blobs of their own link. Nothing here can open a bundle.
- An uncommitted blob is kept for one upload lifetime after the log's last entry of blocks received, which is written
  once per step of that lifetime (`deadline.must_tell`), and never longer than other uploads; then it is erased.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Row, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from audit.entry import Action
from audit.times import rfc3339
from retention.custody.access.manage_links import UploadLink
from retention.custody.context import Custody, Refusal, about_bundle, commit, entry, refuse, unseen
from retention.custody.erasure.erasure_steps import BUNDLE, start
from retention.custody.resending import sent_again
from retention.custody.uploads.declaration import (
    NOTHING_CAME,
    insert_bundle,
    may_collect,
    refuse_if_erased,
    refuse_unkeepable,
)
from retention.custody.uploads.lease import RECHECK_SECONDS
from retention.custody.uploads.manifests import destroy_if_gone
from retention.custody.uploads.quotas import exceeded, room
from retention.custody.uploads.upload_session import data_key_of
from retention.domain.actor import Actor
from retention.domain.bundle import BundleState, Collection, CollectionType, check_unsized
from retention.domain.deadline import must_tell
from retention.domain.faults import Conflict, Erased, Invalid, QuotaExceeded, TakenOver, TooLarge, Unavailable
from retention.domain.ids import Kind, new_id
from retention.domain.upload_link import Declared, collection_of
from retention.envelope import format
from retention.envelope.part_stream import PartSealer, SealingWriter
from retention.objects.store import PartWriter
from retention.objects.store_errors import KeyDestroyed, PartMissing
from retention.records.tables import NAMED, bundles, cases, staged_blocks, stamps, upload_links
from retention.records.unit_of_work import Reads, Transaction

MAX_STAGED = 100_000
"""The most uncommitted blocks of one blob."""
FEWER_THAN = 1024
"""More than the blocks of one blob recorded at the same moment: no installation serves as many requests at once."""
ONE_SHOT = "put:"
"""Prefix of the block id of a blob that comes in one piece; no client's block id begins with it."""


@dataclass(frozen=True, slots=True)
class Through:
    """The sender, and the link that they send through."""

    custody: Custody
    link: UploadLink
    actor: Actor


class Stoppable:
    """The requests writing blocks in this process, so that a stop of the service can ask them to let go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[StagedBlock] = set()

    def enter(self, block: StagedBlock) -> None:
        with self._lock:
            self._open.add(block)

    def leave(self, block: StagedBlock) -> None:
        with self._lock:
            self._open.discard(block)

    def stop_all(self) -> None:
        """Cut every block being written. Its client sends it again; none of it is kept."""
        with self._lock:
            for block in self._open:
                block.stop.set()


class StagedBlock:
    """One request writing one block. Feed it bytes, then call `keep`; leaving the `with` without that drops them."""

    def __init__(
        self,
        through: Through,
        blocks: Stoppable,
        bundle_id: str,
        block_id: str | None,
        length: int,
        *,
        first: bool,
    ) -> None:
        custody = through.custody
        self.bundle_id = bundle_id
        self.part_id = new_id(Kind.PART)
        self.block_id = f"{ONE_SHOT}{self.part_id}" if block_id is None else block_id
        self.stop = threading.Event()
        self._through, self._blocks, self._length = through, blocks, length
        try:
            key = data_key_of(custody, bundle_id, first=first)
        except KeyDestroyed:  # an erasure came between
            raise Erased(bundle_id, state="erasing", cause=None, erased_at=None) from None
        self._writer: PartWriter = custody.objects.new_part(bundle_id, self.part_id)
        self._sealing = SealingWriter(PartSealer(key, bundle_id, self.part_id), self._writer)
        self._checked = time.monotonic()

    def feed(self, piece: bytes) -> None:
        """Take a piece of any length."""
        if self.stop.is_set():
            raise TakenOver("the service is stopping; send the block again")
        if time.monotonic() - self._checked >= RECHECK_SECONDS:
            self._checked = time.monotonic()
            self._check_wanted()
        if self._sealing.length + len(piece) > self._length:
            raise TooLarge(
                f"more bytes came than the block's Content-Length of {self._length}", size=self._length
            )
        self._sealing.write(piece)

    def keep(self) -> None:
        """Make the block durable and record it, in place of an earlier block of the same id if there is one."""
        custody = self._through.custody
        length, digest = self._sealing.length, self._sealing.finish()
        if length != self._length:
            raise Invalid(
                f"only {length} of the block's {self._length} bytes came; send it again",
                {"Content-Length": f"is {self._length}, but {length} bytes came"},
            )
        try:
            self._writer.commit()  # durable object
        except PartMissing:  # an erasure, or a commit of the blob, came between
            self._check_wanted()
            raise blob_complete(self.bundle_id) from None
        try:
            near = _is_near(self._through, self.bundle_id, length)
            replaced = commit(
                custody, lambda tx: self._record(tx, length, digest, near=near)
            )  # * it counts from here
        except (
            Erased,
            Conflict,
            TooLarge,
            QuotaExceeded,
        ):  # the records refused it; after any other error they may still take it
            custody.objects.destroy_part(self.bundle_id, self.part_id)
            raise
        if replaced is not None:
            custody.objects.destroy_part(self.bundle_id, replaced)

    def _record(self, tx: Transaction, length: int, digest: bytes, *, near: bool) -> str | Refusal | None:
        """Record the block and return the part that it replaces. Where the limits are `near`, check them again: other
        blocks of the blob may have come since its bytes began."""
        now = self._through.custody.clock.now()
        of = bundles.c.id == self.bundle_id
        bundle = tx.execute(select(bundles).where(of)).one()
        refuse_if_erased(bundle)
        if bundle.state != BundleState.STAGING:
            raise blob_complete(bundle.id)
        if near:
            _check_room(tx, self._through, bundle.id, self.block_id, length)
        if self._through.custody.limits.has_quota and (
            over := _within_quota(tx, self._through, bundle, length)
        ):
            return over
        self._renew(tx, bundle, length, now)
        if not self.block_id.startswith(ONE_SHOT):
            _check_same_length(tx, self.bundle_id, self.block_id)
        same = staged_blocks.c.bundle_id == self.bundle_id, staged_blocks.c.block_id == self.block_id
        before = tx.execute(select(staged_blocks.c.part_id).where(*same)).scalar()
        row = {
            "part_id": self.part_id,
            "length": length,
            "digest": digest.hex(),
            "staged_at": now,
            "framing": format.CURRENT,
        }
        if before is not None:
            tx.change(update(staged_blocks).where(*same).values(row))
            return str(before)
        fresh = {"bundle_id": self.bundle_id, "block_id": self.block_id, **row}
        tx.change(insert(staged_blocks).values(fresh))
        return None

    def _renew(self, tx: Transaction, bundle: Row[Any], length: int, now: datetime) -> None:
        """Extend the blob's lifetime, with an entry: once per step of it, however many blocks come."""
        limits = self._through.custody.limits
        until = limits.upload_kept_until(bundle.created_at, now)
        if not must_tell(bundle.expires_at, until, limits.upload_lifetime):
            return
        tx.change(update(bundles).where(bundles.c.id == bundle.id).values(expires_at=until))
        going_on = entry(
            self._through.actor,
            Action.UPLOAD_CONTINUED,
            now,
            **about_bundle(bundle),
            subject=self._through.link.row.id,
            details={"staged": length},
        )
        tx.audit(going_on)

    def _check_wanted(self) -> None:
        """Raise Erased, Conflict or TakenOver if the blob can no longer be written, or the link no longer be used."""
        held = select(bundles, upload_links.c.revoked_at, stamps.c.deregistered_at).join_from(
            bundles, upload_links, upload_links.c.id == bundles.c.link_id
        )
        held = held.join(stamps, stamps.c.id == upload_links.c.stamp_id)
        with self._through.custody.records.read() as reads:
            bundle = reads.execute(held.where(bundles.c.id == self.bundle_id)).one()
        refuse_if_erased(bundle)
        if bundle.state != BundleState.STAGING:
            raise blob_complete(bundle.id)
        if bundle.revoked_at is not None:
            raise TakenOver("the upload link was revoked; ask for a new one")
        if bundle.deregistered_at is not None:
            raise TakenOver("the stamp that this upload link is for is deregistered")

    def __enter__(self) -> Self:
        self._blocks.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.leave(self)
        self._writer.abort()
        if isinstance(error, Erased):
            destroy_if_gone(self._through.custody, self.bundle_id)


def blob_complete(bundle_id: str) -> Conflict:
    return Conflict(
        f"this blob is complete (bundle {bundle_id}): it takes no more blocks", reason="blob-complete"
    )


def _check_same_length(reads: Reads, bundle_id: str, block_id: str) -> None:
    """Raise Conflict unless the block id is as long as the blob's other ones."""
    clients = staged_blocks.c.bundle_id == bundle_id, ~staged_blocks.c.block_id.startswith(ONE_SHOT)
    other = reads.execute(select(staged_blocks.c.block_id).where(*clients).limit(1)).scalar()
    if other is not None and len(other) != len(block_id):
        raise Conflict(
            f"block ID {block_id!r} has {len(block_id)} characters; this blob's uncommitted ones, perhaps another "
            f"client's, have {len(other)}: use one length for all. To start the name over, commit an empty block list, "
            "put an empty blob, or delete it (permission d)",
            reason="block-id-length",
        )


def begin_block(
    through: Through, blocks: Stoppable, blob_name: str, block_id: str | None, length: int, declared: Declared
) -> StagedBlock:
    """Start writing a block of `length` bytes (`block_id` None: the whole blob), and begin the blob if it is new."""
    custody, most = through.custody, through.custody.limits.max_bundle_size
    if length < 1 or length > most:
        raise TooLarge(f"a block of {length} bytes cannot be taken: send 1 to {most}", limit=most)
    bundle = _find_or_begin(through, blob_name, declared)
    if custody.limits.has_quota:
        commit(custody, lambda tx: _within_quota(tx, through, bundle, length))
    with custody.records.read() as reads:
        count = _check_room(reads, through, bundle.id, block_id, length)
        if block_id is not None:
            _check_same_length(reads, bundle.id, block_id)
    return StagedBlock(through, blocks, bundle.id, block_id, length, first=count == 0)


def _is_near(through: Through, bundle_id: str, length: int) -> bool:
    """Tell whether blocks recorded at the same moment could together take the blob past its limits.

    Counting all blocks in each block's transaction makes those of one blob run again and again where writers run in
    parallel. A block of a small share of the limit, with half of it left, cannot pass it with fewer than FEWER_THAN
    others.
    """
    most = through.custody.limits.max_bundle_size
    if length > most // (2 * FEWER_THAN):
        return True
    with through.custody.records.read() as reads:
        found = _staged(reads, bundle_id, "")
    return bool(found.blocks >= MAX_STAGED // 2 or found.bytes + length > most // 2)


def _staged(reads: Reads, bundle_id: str, block_id: str) -> Row[Any]:
    """Count the uncommitted `blocks`, and the `bytes` of those other than this one."""
    beside = case((staged_blocks.c.block_id != block_id, staged_blocks.c.length), else_=0)
    counted = func.count().label("blocks"), func.coalesce(func.sum(beside), 0).label("bytes")
    return reads.execute(select(*counted).where(staged_blocks.c.bundle_id == bundle_id)).one()


def _check_room(reads: Reads, through: Through, bundle_id: str, block_id: str | None, length: int) -> int:
    """Return the number of uncommitted blocks; Conflict or TooLarge if this one, which may replace one, is too much."""
    most = through.custody.limits.max_bundle_size
    found = _staged(reads, bundle_id, block_id or "")
    if found.blocks >= MAX_STAGED:
        raise Conflict(
            f"this blob has {found.blocks} uncommitted blocks, and {MAX_STAGED} is the limit: commit it, or start over "
            "with larger blocks",
            reason="too-many-blocks",
        )
    if found.bytes + length > most:
        raise TooLarge(
            f"this block would bring the blob to {found.bytes + length} bytes; a bundle can have at most {most}",
            limit=most,
        )
    return int(found.blocks)


def _within_quota(tx: Transaction, through: Through, bundle: Row[Any], length: int) -> Refusal | None:
    over = exceeded(room(tx, through.custody.limits, bundle.stamp_id, bundle.case_id), length)
    if over is None:
        return None
    ids = {"tenant": bundle.tenant_id, "case": bundle.case_id, "bundle": bundle.id}
    return refuse(tx, through.actor, Action.UPLOAD_CONTINUED, through.custody.clock.now(), over, **ids)


def find_blob(reads: Reads, link_id: str, blob_name: str) -> Row[Any] | None:
    """Find the blob of this name that was sent, or is being sent, through the link."""
    mine = bundles.c.link_id == link_id, bundles.c.blob_name == blob_name, NAMED
    return reads.execute(select(bundles).where(*mine)).first()


def _find_or_begin(through: Through, blob_name: str, declared: Declared) -> Row[Any]:
    custody, link = through.custody, through.link
    with custody.records.read() as reads:
        found = find_blob(reads, link.row.id, blob_name)
    if found is None or is_empty(found):
        refuse_unkeepable(custody)
        try:
            found = commit(custody, lambda tx: begin_blob(tx, through, blob_name, declared))
        except IntegrityError:  # two first blocks at once: the other one began it
            with custody.records.read() as reads:
                found = find_blob(reads, link.row.id, blob_name)
    if found is None:
        raise Unavailable("the blob was erased just as it began; send it again", reason="erased-meanwhile")
    if found.state != BundleState.STAGING:
        raise blob_complete(found.id)
    if found.expires_at <= custody.clock.now():
        raise Unavailable(
            f"this upload expired at {rfc3339(found.expires_at)}; its blocks are about to be erased",
            reason="expired",
        )
    return found


def forget_wrong(through: Through, bundle_id: str) -> None:
    """Begin the erasure of a blob whose only request sent other bytes than it declared, unless other requests' blocks
    are there: it holds nothing, and no list shows it."""
    now = through.custody.clock.now()

    def work(tx: Transaction) -> None:
        bundle = tx.execute(select(bundles).where(bundles.c.id == bundle_id)).one()
        of = staged_blocks.c.bundle_id == bundle_id
        if (
            bundle.state == BundleState.STAGING
            and not tx.execute(select(staged_blocks).where(of).limit(1)).first()
        ):
            give_way(tx, through, bundle, NOTHING_CAME, now)

    through.custody.records.write(work)


def is_empty(blob: Row[Any]) -> bool:
    """Return True for a blob that was completed without a byte."""
    return bool(blob.state != BundleState.STAGING and blob.size == 0)


def begin_blob(tx: Transaction, through: Through, blob_name: str, declared: Declared) -> Row[Any] | Refusal:
    """Make the record of a blob whose blocks are to come; an empty one of its name gives way."""
    now, id_ = through.custody.clock.now(), new_id(Kind.BUNDLE)
    before = find_blob(tx, through.link.row.id, blob_name)
    if before is not None and not is_empty(before):
        return before  # somebody began it meanwhile
    planned = plan(tx, through, blob_name, declared, now, 0)
    if isinstance(planned, Refusal):
        return planned
    collection, case_id = planned
    of = through.custody, through.link.stamp.id, collection.file_name, None, collection.sha256, now
    if again := sent_again(tx, *of):
        ids = {"tenant": through.link.stamp.tenant_id, "case": case_id}
        return refuse(tx, through.actor, Action.UPLOAD_CREATED, now, again, **ids)
    if before is not None:
        give_way(tx, through, before, "empty-replaced", now)
    more = {"state": BundleState.STAGING, "link_id": through.link.row.id, "blob_name": blob_name}
    stamp = through.link.stamp
    return insert_bundle(tx, through.custody, id_, through.actor, stamp, case_id, collection, now, more)


def give_way(tx: Transaction, through: Through, blob: Row[Any], cause: str, now: datetime) -> None:
    """Begin the erasure of a blob that its own sender no longer needs: its name is free from this commit on."""
    start(tx, through.actor, [blob], blob.tenant_id, blob.case_id, BUNDLE, cause, now, on_demand=False)


def plan(
    tx: Transaction, through: Through, blob_name: str, declared: Declared, begun_at: datetime, size: int
) -> tuple[Collection, str | None] | Refusal:
    """Return a blob's collection and case, from its metadata and its link, or the refusal; Invalid."""
    link, now, actor = through.link.row, through.custody.clock.now(), through.actor
    case_id = link.case_id
    if declared.case is not None:
        own = cases.c.number == declared.case, cases.c.tenant_id == link.tenant_id
        case_id = tx.execute(select(cases.c.id).where(*own)).scalar()
        if case_id is None or link.case_id not in (None, case_id):
            return unseen(tx, actor, Action.UPLOAD_CREATED, now, "case", declared.case)
    collection = collection_of(
        declared,
        type_=CollectionType(link.type),
        trigger=link.trigger,
        roles=json.loads(link.roles),
        has_case=declared.case is not None,
        blob_name=blob_name,
        begun_at=begun_at,
        size=size,
    )
    check_unsized(collection, through.custody.triggers, now)
    if case_id is None and collection.type is CollectionType.ON_DEMAND:
        raise Invalid(
            "an on-demand collection needs a case, and neither the blob's metadata nor its link names one",
            {"case": "is missing: give the case number"},
        )
    if denied := may_collect(through.link.stamp, collection):
        return refuse(tx, actor, Action.UPLOAD_CREATED, now, denied, tenant=link.tenant_id, subject=link.id)
    return collection, case_id
