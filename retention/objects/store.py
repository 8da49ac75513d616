"""The contract of the stores. Every store passes the suites in tests/contracts/.

Two stores, kept apart so that no copy of one is a copy of both:
the object store holds sealed parts, the key store holds one small wrapped data key a bundle.
Neither sees plaintext or an unwrapped key.

Life of a bundle's objects
    new_part, reserve/advance, commit*   any number of parts, in any order, in parallel   (* durable when it returns)
    complete                             the parts, in order, become the bundle; only now are they readable
    open_part                            any number of readers
    keep_index                           a committed contents index becomes the bundle's only one, and readable
    destroy                              idempotent; remains() == [] proves it

Rules for all methods
- Durable when it returns: a power cut afterwards loses nothing that a method reported done.
- Immutable: a part's name is written once. `PartExists` is raised by `new_part` or, at the latest, by `commit`.
- Idempotent: `complete`, `destroy*` and `discard_abandoned` can be repeated after any error or crash.
- Errors: `StoreFull` (the write is aborted), `StoreUnavailable` (may or may not have happened: reload,
  then repeat), and those named at the methods. An id of the wrong shape is `BadName` everywhere.
- Safe from many threads and processes at once; one PartWriter or PartReader belongs to one thread at a time.
- The store does not know who is allowed to call, or when. That no part is added after `complete`, and none after
  `destroy`, is the records' rule; destroying the data key first makes a late part unreadable anyway.
- The sealed manifest is a part like any other here, and the last of the list that `complete` gets. It alone may be
  written anew after `complete`, which then adds it and removes the old one.
- The sealed contents index (an id that begins with `idx_`) is written as a part is, after `complete`, and lies beside
  the bundle: `complete` and `list_parts` pass over it, all that destroys or looks for remains does not.

Why `complete` exists: in a blob store parts are staged blocks, and their list makes the blob. Every store guarantees
the same: afterwards exactly the listed parts exist, and strays are gone.
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
        """Return exactly `length` writable bytes (at most RESERVE_MAX), valid until the next call on this writer.

        The caller writes in place and then calls `advance` with how much of it counts.
        """

    def advance(self, length: int) -> None:
        """Add the first `length` bytes of the last reservation to the part. Once a reservation.

        May write bytes out, and so raise `StoreFull` or `StoreUnavailable`; the part is aborted then.
        """

    def commit(self) -> None:
        """Make the part durable under its name, both data and name. Only now does it appear.

        `PartExists`: the name was taken meanwhile. `PartMissing`: destroyed while it was being written.
        After any error the part is aborted (`StoreUnavailable` excepted: unknown).
        """

    def abort(self) -> None:
        """Drop the part: it is in no list, and its name is free. No effect after `commit` or a second time.

        `remains` shows what a store cannot remove singly, until `complete` or `destroy` removes it.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PartReader(Protocol):
    """One stored part, open for reading. A reader open when its part is destroyed may read on."""

    @property
    def size(self) -> int:
        """The number of stored bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset`, fewer only where the part ends. Releases the GIL."""

    def close(self) -> None:
        """Release the part; can be repeated."""


class ObjectStore(Protocol):
    """Sealed parts, by bundle."""

    def new_part(self, bundle_id: str, part_id: str) -> PartWriter:
        """Start a part. `PartExists` if its name is taken or being written. Use a fresh part id for each try."""

    def complete(self, bundle_id: str, part_ids: Sequence[str]) -> None:
        """Make these parts, in this order, the bundle, readable from now on.

        Every other part of the bundle, committed or half-written, is removed. `PartMissing` if one of the list does
        not exist; nothing is changed then. Repeating it with the same list changes nothing. Of two at once with
        different lists one comes first: the other finds what the first left.
        """

    def keep_index(self, bundle_id: str, index_id: str) -> None:
        """Make this committed contents index the bundle's only one, and remove every other.

        `PartMissing` if it does not exist; nothing is changed then. Repeating it changes nothing.
        """

    def open_part(self, bundle_id: str, part_id: str) -> PartReader:
        """Open a part of a complete bundle, or its kept contents index. `PartMissing` if it does not exist.

        Before `complete` (`keep_index`) a store may or may not find it, so nobody calls this then.
        """

    def list_bundles(self) -> Iterator[str]:
        """Yield the ids of all bundles with any stored object, incomplete ones included, unordered.

        Bundles that come or go during the listing may or may not be in it. Used to find orphans.
        """

    def list_parts(self, bundle_id: str) -> list[str]:
        """Return the ids of the committed parts, sorted; empty for an unknown bundle."""

    def destroy(self, bundle_id: str) -> int:
        """Remove all of the bundle: parts, half-written parts, versions, snapshots, staged blocks.

        Returns how many objects it removed, 0 if there were none. A part being written is lost with the rest: its
        writer's `commit` raises `PartMissing`.
        """

    def destroy_part(self, bundle_id: str, part_id: str) -> None:
        """Abort one part that no record names, if it exists, as its writer would; only before `complete`."""

    def remains(self, bundle_id: str) -> list[str]:
        """Name everything still found of the bundle, in every form that `destroy` removes. Empty proves absence.

        Looks afresh each time; never from memory. `StoreUnavailable` when it cannot look: never [].
        """

    def discard_abandoned(self) -> int:
        """Remove half-written parts of writers that died, never a part being written; return how many.

        A store whose service does this by itself removes nothing here and returns 0.
        """

    def free_space(self) -> int | None:
        """Return how many bytes parts can still take, above the reserve; None for a store without a bound."""

    def check(self) -> None:
        """Raise `StoreUnavailable`, with what is wrong, unless a part could be written right now. For readiness."""


class KeyStore(Protocol):
    """A store of one wrapped data key a bundle, where nothing keeps versions, snapshots or backups (P7).

    The key's life:  (none) -put-> kept -replace-> kept -destroy-> destroyed;  (none) -destroy-> destroyed.
    Destroyed is final. A store remembers it, so that no late writer and no re-wrapping brings a key back.
    Calls for one bundle are atomic against each other, in every process: `get` never sees a torn key.
    """

    def put(self, bundle_id: str, wrapped: WrappedKey) -> None:
        """Keep a bundle's first key. `KeyExists` if it has one (which stays), `KeyDestroyed` if it had one."""

    def replace(self, bundle_id: str, wrapped: WrappedKey) -> None:
        """Replace the old key by the re-wrapped one, unrecoverably. `KeyMissing`, `KeyDestroyed`."""

    def get(self, bundle_id: str) -> WrappedKey:
        """Read the key. `KeyMissing` if there never was one, `KeyDestroyed` if it was destroyed.

        `WrappedKeyBroken` if what is stored is not a wrapped key.
        """

    def destroy(self, bundle_id: str) -> None:
        """Destroy the key, if any, and refuse one for this bundle ever after. Idempotent."""

    def exists(self, bundle_id: str) -> bool:
        """Tell whether `get` would return a key."""

    def remains(self, bundle_id: str) -> list[str]:
        """Name everything still found that could hold key bytes, half-written included. Empty proves absence.

        The note that a key was destroyed holds no key bytes and is not listed.
        """

    def list_bundles(self) -> Iterator[str]:
        """Yield the ids of the bundles with a key, unordered. For re-wrapping."""

    def check(self) -> None:
        """Raise `StoreUnavailable`, with what is wrong, unless a key could be kept right now. For readiness."""
