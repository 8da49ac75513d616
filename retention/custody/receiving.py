"""Receiving a bundle's bytes (P1): sealed as they arrive, kept whatever happens to the line.

Order of writing, for each part:
  seal the part -> durable object -> * record the part (offset moves in the same transaction)
When the last byte is recorded, `completing.finish_upload` follows.
A crash before a * leaves an object that no record names: it is removed at `complete`, or with the bundle.

Rules:
- Plaintext is in memory only; it goes from the request to the sealer.
- One writer an upload. A new request takes the upload over: the old one is told to stop, keeps what it can, and is
  fenced off by the writer's token, so a late part of it is never recorded.
- A request that ends early, however it ends, keeps what arrived: `park` seals the rest as a short part.
- A part is at most PART_SEGMENTS segments, so a killed process loses less than one part, never the upload.
"""

from __future__ import annotations

import secrets
import threading
import time
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Row, insert, select, update

from audit.entry import Action
from retention.actor import Actor, Role
from retention.bundle import BundleState
from retention.custody.collecting import refuse_if_erased
from retention.custody.completing import finish_upload
from retention.custody.context import Custody, Turned, commit, entry, not_operator_of, refuse, unseen
from retention.envelope import format as fmt
from retention.envelope.keys import DataKey
from retention.envelope.stream import PartSealer
from retention.envelope.writer import SealingWriter
from retention.errors import Conflict, CustodyError, Erased, OffsetMismatch, TakenOver, TooLarge
from retention.grants import Denied
from retention.ids import Kind, new_id
from retention.objects.errors import KeyDestroyed, KeyExists, KeyMissing, PartMissing
from retention.objects.store import PartWriter
from retention.records.queries import bundle_parts, find_bundle
from retention.records.tables import bundles, parts
from retention.records.unit_of_work import Reads, Transaction

PART_SEGMENTS = 64
PART_SIZE = fmt.FIRST_PLAINTEXT + (PART_SEGMENTS - 1) * fmt.LATER_PLAINTEXT
"""Plaintext bytes of a full part."""
HANDOVER_SECONDS = 10.0
RECHECK_SECONDS = 2.0
"""How long a slow request may go on taking bytes of an upload that was erased or taken over elsewhere."""


class Uploads:
    """The uploads being written in this process, so that a second writer can ask the first to let go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, UploadSession] = {}

    def enter(self, session: UploadSession) -> None:
        """Make `session` the upload's writer here; waits a while for the one before to save and let go."""
        with self._lock:
            before = self._open.get(session.bundle_id)
            self._open[session.bundle_id] = session
        if before is not None:
            before.stop.set()
            before.left.wait(HANDOVER_SECONDS)  # then the token fences it off anyhow

    def leave(self, session: UploadSession) -> None:
        """`session` writes no more."""
        session.left.set()
        with self._lock:
            if self._open.get(session.bundle_id) is session:
                del self._open[session.bundle_id]

    def stop_all(self) -> None:
        """Ask every upload to save and let go: a graceful stop."""
        with self._lock:
            for session in self._open.values():
                session.stop.set()


class UploadSession:
    """One request's writing to one upload. Feed it bytes, then `park`; leaving the `with` block without it discards
    the part begun. One thread at a time; `stop` may be set by another."""

    def __init__(self, custody: Custody, actor: Actor, bundle_id: str, uploads: Uploads) -> None:
        self.bundle_id = bundle_id
        self.stop = threading.Event()
        self.left = threading.Event()
        self._custody, self._actor, self._uploads = custody, actor, uploads
        self._token = secrets.token_hex(16)
        self._writer: PartWriter | None = None
        self._sealing: SealingWriter | None = None
        self._part_id = ""

    def start(self, offset: int) -> None:
        """Take the upload over, at `offset`."""
        bundle = _take_over(self._custody, self._actor, self.bundle_id, self._token, offset)
        self.size: int = bundle.size
        self.started_at: int = offset
        self.offset: int = offset
        self._number = self._parts_so_far()
        try:
            self._key = data_key_of(self._custody, self.bundle_id)
        except KeyDestroyed:  # an erasure came between
            raise Erased(self.bundle_id, state="erasing", cause=None, erased_at=None) from None
        self._checked = time.monotonic()

    @property
    def position(self) -> int:
        """Bytes taken so far, recorded or not."""
        return self.offset + (self._sealing.length if self._sealing else 0)

    @property
    def room(self) -> int:
        """How many bytes the next piece should have, to be sealed without a copy. 0 when the upload is full."""
        held = self._sealing.room if self._sealing else fmt.FIRST_PLAINTEXT
        return min(held, self.size - self.position)

    def feed(self, piece: bytes) -> None:
        """Take a piece, of any length. TakenOver when another writer came; TooLarge past the announced size."""
        if self.stop.is_set():
            raise TakenOver(
                "another request took this upload over, or the service is stopping; ask for the offset"
            )
        if time.monotonic() - self._checked >= RECHECK_SECONDS:
            self._checked = time.monotonic()
            self._check_mine()
        if self.position + len(piece) > self.size:
            raise TooLarge(f"the bundle was announced with {self.size} bytes; more have come", size=self.size)
        view = memoryview(piece)
        while len(view):
            sealing = self._sealing or self._begin_part()
            take = min(len(view), PART_SIZE - sealing.length)
            sealing.write(piece if take == len(piece) else bytes(view[:take]))
            view = view[take:]
            if sealing.length == PART_SIZE:
                self._end_part()

    def park(self) -> int:
        """Keep all that was taken; completes the bundle when that is all of it. The offset to go on from."""
        if self._sealing is not None:
            self._end_part()
        if self.offset > self.started_at:
            commit(self._custody, self._continued)
        if self.offset == self.size:
            finish_upload(self._custody, self._actor, self.bundle_id)
        return self.offset

    def _begin_part(self) -> SealingWriter:
        self._part_id = new_id(Kind.PART)
        self._writer = self._custody.objects.new_part(self.bundle_id, self._part_id)
        sealer = PartSealer(self._key, self.bundle_id, self._part_id)
        self._sealing = SealingWriter(sealer, self._writer)
        return self._sealing

    def _end_part(self) -> None:
        sealing, writer = self._sealing, self._writer
        if sealing is None or writer is None:
            return
        self._sealing = self._writer = None
        with writer:
            length, digest = sealing.length, sealing.finish()
            try:
                writer.commit()  # durable object
            except PartMissing:  # an erasure, or another writer's completion, came between
                self._check_mine()
                raise
        try:
            commit(self._custody, lambda tx: self._record(tx, length, digest))  # * the part counts from here
        except CustodyError:
            self._custody.objects.destroy_part(self.bundle_id, self._part_id)
            raise
        self.offset += length
        self._number += 1

    def _record(self, tx: Transaction, length: int, digest: bytes) -> None:
        now = self._custody.clock.now()
        mine = (
            bundles.c.id == self.bundle_id,
            bundles.c.state == BundleState.RECEIVING,
            bundles.c.writer == self._token,
            bundles.c.offset == self.offset,
        )
        if not tx.change(update(bundles).where(*mine).values(offset=self.offset + length)):
            raise self._lost(tx)
        row = {
            "bundle_id": self.bundle_id,
            "number": self._number,
            "part_id": self._part_id,
            "offset": self.offset,
            "length": length,
            "digest": digest.hex(),
            "recorded_at": now,
        }
        tx.change(insert(parts).values(row))

    def _check_mine(self) -> None:
        """Erased or TakenOver, once another than this session has the say over the upload."""
        with self._custody.records.read() as reads:
            writer = reads.execute(select(bundles.c.writer).where(bundles.c.id == self.bundle_id)).scalar()
            if writer != self._token:
                raise self._lost(reads)

    def _lost(self, reads: Reads) -> TakenOver:
        """Why this session may not go on; an erasure is raised from here."""
        refuse_if_erased(reads.execute(select(bundles).where(bundles.c.id == self.bundle_id)).one())
        return TakenOver("another request took this upload over; ask for the offset")

    def _continued(self, tx: Transaction) -> None:
        bundle = tx.execute(select(bundles).where(bundles.c.id == self.bundle_id)).one()
        tx.audit(
            entry(
                self._actor,
                Action.UPLOAD_CONTINUED,
                self._custody.clock.now(),
                tenant=bundle.tenant_id,
                case=bundle.case_id,
                bundle=self.bundle_id,
                details={"from": self.started_at, "to": self.offset},
            )
        )

    def _parts_so_far(self) -> int:
        with self._custody.records.read() as reads:
            return len(bundle_parts(reads, self.bundle_id))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.abort()
        self._uploads.leave(self)


def begin(custody: Custody, uploads: Uploads, actor: Actor, bundle_id: str, offset: int) -> UploadSession:
    """Start writing to an upload at `offset`. OffsetMismatch, Conflict, Erased, NotFound, Refused."""
    may_write(custody, actor, bundle_id)
    session = UploadSession(custody, actor, bundle_id, uploads)
    uploads.enter(session)
    try:
        session.start(offset)
    except BaseException:
        uploads.leave(session)
        raise
    return session


def may_write(custody: Custody, actor: Actor, bundle_id: str) -> Row[Any]:
    """The upload, when the actor may continue it: its own stamp, or the tenant's operator."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Turned:
        bundle = find_bundle(tx, actor, bundle_id, now)
        if bundle is None:
            return unseen(tx, actor, Action.UPLOAD_CONTINUED, now, "bundle", bundle_id)
        if denied := _not_the_sender(actor, bundle):
            return refuse(
                tx, actor, Action.UPLOAD_CONTINUED, now, denied, tenant=bundle.tenant_id, bundle=bundle_id
            )
        refuse_if_erased(bundle)
        return bundle

    return commit(custody, work)


def _not_the_sender(actor: Actor, bundle: Row[Any]) -> Denied | None:
    own = actor.has(Role.STAMP) and actor.stamp == bundle.stamp_id
    return None if own else not_operator_of(actor, bundle.tenant_id)


def _take_over(custody: Custody, actor: Actor, bundle_id: str, token: str, offset: int) -> Row[Any]:
    def work(tx: Transaction) -> Row[Any]:
        bundle = tx.execute(select(bundles).where(bundles.c.id == bundle_id)).one()
        refuse_if_erased(bundle)
        if bundle.expires_at <= custody.clock.now():
            raise Erased(bundle_id, state="expired", cause="upload-expired", erased_at=None)
        if bundle.offset != offset:
            raise OffsetMismatch(bundle.offset)
        if bundle.state != BundleState.RECEIVING:
            raise Conflict("this upload is complete", reason=f"bundle-{bundle.state}")
        tx.change(update(bundles).where(bundles.c.id == bundle_id).values(writer=token))
        return bundle

    return custody.records.write(work)


def data_key_of(custody: Custody, bundle_id: str) -> DataKey:
    """The bundle's data key, made with its first part: a record always stands before its key."""
    try:
        return custody.wrapper.unwrap(custody.keys.get(bundle_id), bundle_id)
    except KeyMissing:
        fresh = DataKey.generate()
        try:
            custody.keys.put(bundle_id, custody.wrapper.wrap(fresh, bundle_id))
        except KeyExists:  # another writer was first
            return custody.wrapper.unwrap(custody.keys.get(bundle_id), bundle_id)
        return fresh
