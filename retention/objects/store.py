"""The contract of the stores. Every store passes the suites in tests/contracts/.

Two stores, kept apart so that no copy of one is a copy of both:
the object store holds sealed parts, the key store holds one small wrapped data key a bundle.
Neither sees plaintext or an unwrapped key.

Life of a bundle's objects
    new_part, reserve/advance, commit*   any number of parts, in any order, in parallel   (* durable when it returns)
    complete                             the parts, in order, become the bundle; only now are they readable
    open_part                            any number of readers
    destroy                              idempotent; remains() == [] proves it

Rules for all methods
- Durable when it returns: a power cut afterwards loses nothing that a method reported done.
- Immutable: a part's name is written once. `PartExists` is raised by `new_part` or, at the latest, by `commit`.
- Idempotent: `complete`, `destroy*` and `discard_abandoned` may be repeated after any error or crash.
- Errors: `StoreFull` (the write is aborted), `StoreUnavailable` (may or may not have happened: reload,
  then repeat), and those named at the methods. An id of the wrong shape is `BadName` everywhere.
- Safe from many threads and processes at once; one PartWriter or PartReader belongs to one thread at a time.
- Not the store's business: who may, and when. That no part is added after `complete`, and none after `destroy`,
  is the records' rule; destroying the data key first makes a late part unreadable anyhow.
- The sealed manifest is a part like any other here, and the last of the list that `complete` gets. It alone may be
  written anew after `complete`, which then takes it in and the old one away.

Why `complete` exists: in a blob store parts are staged blocks, and the list of them is what makes the blob. In every
store it fixes the same thing: afterwards exactly the listed parts exist, and strays are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from retention.envelope.data_keys import WrappedKey

RESERVE_MAX = 1 << 20
"""The most that one `reserve` grants: one segment, header and tag included."""


class PartWriter(Protocol):
    """One part being written. Leaving its `with` block without `commit` aborts it."""

    def reserve(self, length: int) -> memoryview:
        """Exactly `length` writable bytes (at most RESERVE_MAX), valid until the next call on this writer.

        The caller writes in place and then says by `advance` how much of it counts.
        """

    def advance(self, length: int) -> None:
        """The first `length` bytes of the last reservation belong to the part. Once a reservation.

        May write bytes out, so `StoreFull` and `StoreUnavailable` can come from here; the part is aborted then.
        """

    def commit(self) -> None:
        """Make the part durable under its name, data and name both. The only point at which it appears.

        `PartExists`: the name was taken meanwhile. `PartMissing`: destroyed while it was being written.
        After any error the part is aborted (`StoreUnavailable` excepted: unknown).
        """

    def abort(self) -> None:
        """Forget the part: it is in no list, and its name is free. No effect after `commit` or a second time.

        What of it a store cannot remove singly, `remains` shows until `complete` or `destroy` takes it away.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PartReader(Protocol):
    """One stored part, open for reading. A reader that was open when its part was destroyed may read on."""

    @property
    def size(self) -> int:
        """Bytes stored."""

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`: `length` of them, fewer only where the part ends. Releases the GIL."""

    def close(self) -> None:
        """Give up the part; may be repeated."""


class ObjectStore(Protocol):
    """Sealed parts, by bundle."""

    def new_part(self, bundle_id: str, part_id: str) -> PartWriter:
        """Start a part. `PartExists` if its name is taken or being written. Use a fresh part id for each try."""

    def complete(self, bundle_id: str, part_ids: Sequence[str]) -> None:
        """These parts, in this order, are the bundle, and are readable from now on.

        Every other part of the bundle, committed or half-written, is removed. `PartMissing` if one of the list is
        not there; nothing is changed then. Repeating it with the same list changes nothing. Of two at once with
        different lists one is first: the other finds what the first left.
        """

    def open_part(self, bundle_id: str, part_id: str) -> PartReader:
        """Open a part of a complete bundle. `PartMissing` if it is not there.

        Before `complete` a store may or may not find the part, so nobody asks then.
        """

    def list_bundles(self) -> Iterator[str]:
        """Ids of bundles of which anything is found, half-written included; in no order.

        Bundles that come or go during the listing may or may not be in it. For sweeping orphans.
        """

    def list_parts(self, bundle_id: str) -> list[str]:
        """Ids of the committed parts, sorted; empty for an unknown bundle."""

    def destroy(self, bundle_id: str) -> int:
        """Remove all of the bundle: parts, half-written parts, versions, snapshots, staged blocks.

        Returns how many objects it removed, 0 if there were none. A part being written is lost with the rest: its
        writer's `commit` raises `PartMissing`.
        """

    def destroy_part(self, bundle_id: str, part_id: str) -> None:
        """Abort one part that no record names, if it is there, as its writer would; before `complete` only."""

    def remains(self, bundle_id: str) -> list[str]:
        """Names of everything still found of the bundle, in every form `destroy` removes. Empty proves absence.

        Looks afresh each time; never answers from memory. `StoreUnavailable` when it cannot look: never [].
        """

    def discard_abandoned(self) -> int:
        """Remove what writers that died left half-written, never a part being written. Returns how many.

        A store whose service does this by itself removes nothing here and returns 0.
        """

    def free_space(self) -> int | None:
        """Bytes that parts can still take, above what is kept free; None where the store has no bound of its own."""

    def check(self) -> None:
        """`StoreUnavailable`, with what is wrong, unless a part could be written right now. For readiness."""


class KeyStore(Protocol):
    """One wrapped data key a bundle. Kept where nothing keeps versions, snapshots or backups (P7).

    The key's life:  (none) -put-> kept -replace-> kept -destroy-> destroyed;  (none) -destroy-> destroyed.
    Destroyed is final. A store remembers it, so that no late writer and no re-wrapping brings a key back.
    Calls for one bundle are atomic against each other, in every process: `get` never sees a torn key.
    """

    def put(self, bundle_id: str, wrapped: WrappedKey) -> None:
        """Keep a bundle's first key. `KeyExists` if it has one (kept as it is), `KeyDestroyed` if it had."""

    def replace(self, bundle_id: str, wrapped: WrappedKey) -> None:
        """Put the re-wrapped key in the place of the old, which is not recoverable. `KeyMissing`, `KeyDestroyed`."""

    def get(self, bundle_id: str) -> WrappedKey:
        """The key. `KeyMissing` if there never was one, `KeyDestroyed` if it was destroyed.

        `WrappedKeyBroken` if what is stored is not a wrapped key.
        """

    def destroy(self, bundle_id: str) -> None:
        """Destroy the key, and refuse one for this bundle ever after. Also where there was none. Idempotent."""

    def exists(self, bundle_id: str) -> bool:
        """Whether `get` would return a key."""

    def remains(self, bundle_id: str) -> list[str]:
        """Names of everything still found that could hold key bytes, half-written included. Empty proves absence.

        The note that a key was destroyed holds no key bytes and is not listed.
        """

    def list_bundles(self) -> Iterator[str]:
        """Ids of the bundles with a key; in no order. For re-wrapping."""

    def check(self) -> None:
        """`StoreUnavailable`, with what is wrong, unless a key could be kept right now. For readiness."""
