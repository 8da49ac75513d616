"""Receiving a bundle's bytes (P1): sealed on arrival, kept even if the connection breaks.

Order of writing, for each part:
  seal the part -> durable object -> * record the part (offset moves in the same transaction)
With a declared checksum, all parts of the request are held back: the sum is compared first, then
  * all of them are recorded in one transaction, or none.
When the last byte is recorded, `completion.finish_upload` follows.
A crash before a * leaves an object that no record names: it is removed at `complete`, or with the bundle. So does a
database that falls silent at a *: the part may count, and is left alone.

Rules:
- Plaintext is in memory only; it goes from the request to the sealer.
- An upload has one writer. A new request takes the upload over: the old one is told to stop, keeps what it can, and is
  fenced off by the writer's token, so that no late part of it is recorded (`lease`, `handover`).
- A request that ends early, for whatever reason, keeps what arrived: `park` seals the rest as a short part. Under a
  checksum it keeps nothing.
- A part is at most PART_SEGMENTS segments, and ends by time as well (`part_ends`): a killed process, a power cut or an
  unreachable store loses less than one part, never the upload. docs/intake.md says what that is in bytes.
- Bytes handed over count: a piece is taken first, and only then is its request told to let go.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from sqlalchemy import insert, select, update

from audit.entry import Action
from retention.custody.context import Custody, Refusal, commit, refuse
from retention.custody.uploads.completion import finish_upload
from retention.custody.uploads.declaration import refuse_if_erased
from retention.custody.uploads.handover import change_upload, continued, may_continue, take_over
from retention.custody.uploads.lease import RECHECK_SECONDS, RELEASE_ASKED, Uploads
from retention.custody.uploads.manifests import destroy_if_gone
from retention.custody.uploads.part_ends import open_seconds
from retention.custody.uploads.quotas import exceeded, room
from retention.domain.actor import Actor
from retention.domain.deadline import must_tell
from retention.domain.faults import Erased, QuotaExceeded, TakenOver, TooLarge
from retention.domain.ids import Kind, new_id
from retention.envelope import format as fmt
from retention.envelope.data_keys import DataKey
from retention.envelope.manifest import PartEntry
from retention.envelope.part_stream import PartSealer, SealingWriter
from retention.objects.store import PartWriter
from retention.objects.store_errors import KeyDestroyed, KeyExists, KeyMissing, PartMissing
from retention.records.tables import bundles, parts, stamps
from retention.records.unit_of_work import Reads, Transaction

PART_SEGMENTS = 64
PART_SIZE = fmt.FIRST_PLAINTEXT + (PART_SEGMENTS - 1) * fmt.LATER_PLAINTEXT
"""Plaintext bytes of a full part."""
_now = time.monotonic


class UploadSession:
    """One request writing to one upload. Feed it bytes, then call `park`; leaving the `with` without that discards the
    open part, and with `held` all that the request sent. Not thread-safe, but any thread may set `stop`."""

    def __init__(
        self, custody: Custody, actor: Actor, bundle_id: str, uploads: Uploads, *, held: bool = False
    ) -> None:
        self.bundle_id = bundle_id
        self.stop = threading.Event()
        self.settling = threading.Event()
        self.left = threading.Event()
        self._custody, self._actor, self._uploads = custody, actor, uploads
        self._token = secrets.token_hex(16)
        self._mine = (self._token, RELEASE_ASKED + self._token)
        self._writer: PartWriter | None = None
        self._sealing: SealingWriter | None = None
        self._part_id = ""
        self._waits_for_park, self._parked = held, False
        self._held: list[PartEntry] = []  # durable, not recorded

    def start(self, offset: int, told: int | None) -> None:
        """Take the upload over, at `offset`."""
        bundle, self._number = take_over(
            self._custody, self._actor, self.bundle_id, self._token, offset, told
        )
        self.size: int | None = None if bundle.deferred else bundle.size
        self._created_at, self._partial = bundle.created_at, bundle.partial
        self._kept_until = bundle.expires_at
        self._told: int = offset  # the log knows of the bytes up to here
        self.started_at: int = offset
        self.offset: int = offset
        try:
            self._key = data_key_of(self._custody, self.bundle_id, first=offset == 0)
        except KeyDestroyed:  # an erasure came between
            raise Erased(self.bundle_id, state="erasing", cause=None, erased_at=None) from None
        self._checked = time.monotonic()

    @property
    def _sealed_to(self) -> int:
        return self.offset + sum(part.length for part in self._held)

    @property
    def position(self) -> int:
        """Bytes taken so far, recorded or not."""
        return self._sealed_to + (self._sealing.length if self._sealing else 0)

    @property
    def _most(self) -> int:
        return self._custody.limits.max_bundle_size if self.size is None else self.size

    @property
    def kept_until(self) -> datetime | None:
        """The upload's expiry; None once it is a bundle, which has a deadline instead."""
        return self._kept_until if self._partial or self.offset != self.size else None

    @property
    def to_come(self) -> int:
        """How many more bytes it takes; if its length is not declared yet, up to the most that a bundle can have."""
        return self._most - self.position

    def feed(self, piece: bytes) -> None:
        """Take a piece of any length; an empty one says that nothing more waits.

        TakenOver, after taking the piece, if another writer came, or somebody asks for the offset and nothing waits.
        TooLarge past the size.
        """
        if time.monotonic() - self._checked >= RECHECK_SECONDS:
            self._checked = time.monotonic()
            self.check_mine()
        if self.position + len(piece) > self._most:
            raise TooLarge(
                f"{self.position + len(piece)} bytes have come; the upload takes {self._most}",
                size=self._most,
            )
        view = memoryview(piece)
        while len(view):
            sealing = self._sealing or self._begin_part()
            take = min(len(view), PART_SIZE - sealing.length)
            sealing.write(piece if take == len(piece) else bytes(view[:take]))
            view = view[take:]
            if sealing.length == PART_SIZE:
                self._end_part()
        if self._sealing is not None and self._is_old():
            self._end_part()
        if self.stop.is_set() or (not piece and self.settling.is_set()):
            raise TakenOver(
                "another request took over this upload, or the service is stopping; ask for the offset"
            )

    def _is_old(self) -> bool:
        """Tell whether the open part ends for its age. Under a checksum nothing counts before the request's end."""
        age = _now() - self._opened
        return not self._waits_for_park and age >= open_seconds(
            self._custody.limits.part_seconds, self._number
        )

    def park(self) -> int:
        """Keep all that was taken, complete the bundle if that is all of it, and return the offset to continue from."""
        last = self._seal_part()
        kept, self._held = [*self._held, *([last] if last else [])], []
        if kept:
            self._keep(kept, last=True)
        elif self.offset > self.started_at:
            commit(self._custody, self._leave)
            self._parked = True
        return self._finished()

    def forget(self) -> int:
        """Drop what was held back; return the offset. The declared length may have been reached without it."""
        return self._finished()

    def _finished(self) -> int:
        if self.offset == self.size:
            finish_upload(self._custody, self._actor, self.bundle_id)
        return self.offset

    def _begin_part(self) -> SealingWriter:
        self._part_id = new_id(Kind.PART)
        self._writer = self._custody.objects.new_part(self.bundle_id, self._part_id)
        sealer = PartSealer(self._key, self.bundle_id, self._part_id)
        self._sealing = SealingWriter(sealer, self._writer)
        self._opened = _now()
        return self._sealing

    def _end_part(self) -> None:
        part = self._seal_part()
        if part is not None and self._waits_for_park:
            self._held.append(part)
        elif part is not None:
            self._keep([part])

    def _seal_part(self) -> PartEntry | None:
        """Seal the open part into a durable object; None if there is none."""
        sealing, writer = self._sealing, self._writer
        if sealing is None or writer is None:
            return None
        self._sealing = self._writer = None
        with writer:
            part = PartEntry(self._part_id, self._sealed_to, sealing.length, sealing.finish())
            try:
                writer.commit()  # durable object
            except PartMissing:  # an erasure, or another writer's completion, came between
                self.check_mine()
                raise
        return part

    def _keep(self, kept: Sequence[PartEntry], *, last: bool = False) -> None:
        try:
            told = commit(
                self._custody, lambda tx: self._record(tx, kept, last)
            )  # * the parts count from here
        except (
            TakenOver,
            Erased,
            QuotaExceeded,
        ):  # the records refused them; after any other error they may still take them
            self._discard(kept)
            raise
        self.offset += sum(part.length for part in kept)
        self._number += len(kept)
        self._parked = last
        if told is not None:
            self._told, self._kept_until = self.offset, told

    def _discard(self, unrecorded: Sequence[PartEntry]) -> None:
        for part in unrecorded:
            self._custody.objects.destroy_part(self.bundle_id, part.part_id)

    def _record(self, tx: Transaction, kept: Sequence[PartEntry], last: bool) -> datetime | Refusal | None:
        """Record the parts, and with the `last` ones let go. For those, for the parts that complete the upload, and
        once per step of its lifetime, the same commit writes an entry; then return the upload's new expiry."""
        now = self._custody.clock.now()
        if self.size is None and self._custody.limits.has_quota:  # no length was checked, so the bytes are
            bundle = tx.execute(select(bundles).where(bundles.c.id == self.bundle_id)).one()
            left = room(tx, self._custody.limits, bundle.stamp_id, bundle.case_id)
            if over := exceeded(left, sum(part.length for part in kept)):
                ids = {"tenant": bundle.tenant_id, "case": bundle.case_id, "bundle": self.bundle_id}
                return refuse(tx, self._actor, Action.UPLOAD_CONTINUED, now, over, **ids)
        offset = self.offset + sum(part.length for part in kept)
        limits = self._custody.limits
        until = limits.upload_kept_until(self._created_at, now)
        late = must_tell(self._kept_until, until, limits.upload_lifetime)
        tells = last or offset == self.size or late
        values = {
            "offset": offset,
            **({"writer": None} if last else {}),
            **({"expires_at": until} if tells else {}),
        }
        held = change_upload(tx, self.bundle_id, values, self._mine, self.offset)
        if held is None:
            raise self._lost(tx)
        rows = [
            {
                "bundle_id": self.bundle_id,
                "number": number,
                "part_id": part.part_id,
                "offset": part.offset,
                "length": part.length,
                "digest": part.digest.hex(),
                "recorded_at": now,
                "framing": part.framing,
            }
            for number, part in enumerate(kept, self._number)
        ]
        tx.change(insert(parts), rows)
        if not tells:
            return None
        tx.audit(continued(self._actor, held, (self._told, offset), now))
        return until

    def check_mine(self) -> None:
        """Raise Erased or TakenOver if another session writes to the upload, or asks for it."""
        with self._custody.records.read() as reads:
            held = select(bundles.c.writer, bundles.c.stamp_id, stamps.c.deregistered_at)
            of = bundles.c.id == self.bundle_id
            row = reads.execute(held.join_from(bundles, stamps).where(of)).one()
            if row.writer != self._token:
                raise self._lost(reads)
            if row.deregistered_at is not None and self._actor.stamp == row.stamp_id:
                raise TakenOver(f"stamp {row.stamp_id} is deregistered, so it can no longer upload")

    def _lost(self, reads: Reads) -> TakenOver:
        """Return why this session cannot continue; raise Erased if it is because of an erasure."""
        refuse_if_erased(reads.execute(select(bundles).where(bundles.c.id == self.bundle_id)).one())
        return TakenOver("another request took over this upload; ask for the offset")

    def _leave(self, tx: Transaction) -> None:
        """Let go after the recorded parts, with an entry of those that the log does not know of."""
        self._let_go(tx)
        if self.offset > self._told:
            now, limits = self._custody.clock.now(), self._custody.limits
            until = limits.upload_kept_until(self._created_at, now)
            which = bundles.c.id == self.bundle_id
            renewed = update(bundles).where(which).values(expires_at=until).returning(bundles)
            tx.audit(continued(self._actor, tx.execute(renewed).one(), (self._told, self.offset), now))

    def _let_go(self, tx: Transaction) -> None:
        held = bundles.c.id == self.bundle_id, bundles.c.writer.in_(self._mine)
        tx.change(update(bundles).where(*held).values(writer=None))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.abort()
            self._discard(self._held)
            if isinstance(error, Erased):
                destroy_if_gone(self._custody, self.bundle_id)
            if not self._parked:
                self._custody.records.write(self._let_go)
        finally:
            self._uploads.leave(self)


def begin(
    custody: Custody,
    uploads: Uploads,
    actor: Actor,
    bundle_id: str,
    offset: int,
    *,
    told: int | None = None,
    length: int | None = None,
    held: bool = False,
) -> UploadSession:
    """Start writing to an upload at `offset`. OffsetMismatch, Conflict, Erased, NotFound, Refused, TooLarge.

    `told` is the upload's length, if the request declares it; `length` is how many bytes the request sends, if it says
    so. `held`: none of the request's bytes count before it is parked.
    """
    upload = may_continue(custody, actor, bundle_id)
    most = custody.limits.max_bundle_size if told is None else told
    room = max(0, (most if upload.deferred else upload.size) - offset)
    if length is not None and length > room and offset == upload.offset:
        raise TooLarge(f"the request brings {length} bytes; the upload has room for {room} more", room=room)
    return open_session(custody, uploads, actor, bundle_id, offset, told=told, held=held)


def open_session(
    custody: Custody,
    uploads: Uploads,
    actor: Actor,
    bundle_id: str,
    offset: int,
    *,
    told: int | None = None,
    held: bool = False,
) -> UploadSession:
    """Start writing as in `begin`, for an actor already known to be allowed to."""
    session = UploadSession(custody, actor, bundle_id, uploads, held=held)
    uploads.enter(session)
    try:
        session.start(offset, told)
    except BaseException:
        uploads.leave(session)
        raise
    return session


def data_key_of(custody: Custody, bundle_id: str, *, first: bool) -> DataKey:
    """Return the bundle's data key, made with its `first` part: its record always comes before its key.

    KeyMissing if parts count already: they are sealed under the missing key, and a new one would not open them.
    """
    try:
        return custody.wrapper.unwrap(custody.keys.get(bundle_id), bundle_id)
    except KeyMissing:
        if not first:
            raise
        fresh = DataKey.generate()
        try:
            custody.keys.put(bundle_id, custody.wrapper.wrap(fresh, bundle_id))
        except KeyExists:  # another writer was first
            return custody.wrapper.unwrap(custody.keys.get(bundle_id), bundle_id)
        return fresh
