"""Stores and a key wrapper in memory that police the contract.

They answer as the contract says, and note every call that no correct caller makes: writing a name twice, reading what
was erased or is not complete, adding to a complete or destroyed bundle. `policed()` fails the test for any such note,
so that an `except StoreError` in the code under test cannot hide it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from retention.envelope.data_keys import DataKey, WrappedKey
from retention.envelope.format import CURRENT, UnknownKeyEncryptionKey, WrappedKeyBroken
from retention.objects import object_names
from retention.objects.store import RESERVE_MAX
from retention.objects.store_errors import KeyDestroyed, KeyExists, KeyMissing, PartExists, PartMissing


class Policed(Protocol):
    @property
    def violations(self) -> list[str]: ...


PolicedT = TypeVar("PolicedT", bound=Policed)


@contextmanager
def policed(store: PolicedT) -> Iterator[PolicedT]:
    """Use a strict fake; a broken rule fails the test at the end, even if the code under test went on."""
    yield store
    assert store.violations == []


class _MemoryWriter:
    def __init__(self, store: StrictObjectStore, name: tuple[str, str]) -> None:
        self._store = store
        self._name = name
        self._written = bytearray()
        self._room = bytearray()
        self._open = True

    def reserve(self, length: int) -> memoryview:
        if not self._open:
            raise ValueError("this part is committed or aborted")
        if not 0 <= length <= RESERVE_MAX:
            raise ValueError(f"at most {RESERVE_MAX} bytes are reserved at once")
        self._room = bytearray(length)
        return memoryview(self._room)

    def advance(self, length: int) -> None:
        if not self._open:
            raise ValueError("this part is committed or aborted")
        if not 0 <= length <= len(self._room):
            raise ValueError(f"{length} bytes advanced, {len(self._room)} reserved")
        self._written += self._room[:length]
        self._room = bytearray()

    def commit(self) -> None:
        if not self._open:
            raise ValueError("this part is committed or aborted")
        self._open = False
        if self._store.writing.pop(self._name, None) is not self:
            raise PartMissing("the part was destroyed while it was being written")
        self._store.parts[self._name] = bytes(self._written)

    def abort(self) -> None:
        if self._open and self._store.writing.get(self._name) is self:
            del self._store.writing[self._name]
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


class _MemoryReader:
    def __init__(self, stored: bytes) -> None:
        self._stored: bytes | None = stored

    @property
    def size(self) -> int:
        assert self._stored is not None, "read after close"
        return len(self._stored)

    def read_at(self, offset: int, length: int) -> bytes:
        assert self._stored is not None, "read after close"
        return self._stored[offset : offset + length]

    def close(self) -> None:
        self._stored = None


class StrictObjectStore:
    """`ObjectStore` in memory. `parts` may be tampered with by tests of the reader."""

    def __init__(self) -> None:
        self.parts: dict[tuple[str, str], bytes] = {}
        self.writing: dict[tuple[str, str], _MemoryWriter] = {}
        self.completed: set[str] = set()
        self.destroyed: set[str] = set()
        self.violations: list[str] = []

    def new_part(self, bundle_id: str, part_id: str) -> _MemoryWriter:
        object_names.part_object(bundle_id, part_id)
        name = (bundle_id, part_id)
        late = bundle_id in self.completed and not part_id.startswith(("mft_", "idx_"))
        if part_id.startswith("idx_") and bundle_id not in self.completed:
            self.violations.append(f"an index was written before {bundle_id} was complete")
        if late or bundle_id in self.destroyed:
            self.violations.append(f"a part was added to {bundle_id} after it was completed or destroyed")
        if name in self.parts or name in self.writing:
            self.violations.append(f"part {part_id} was written twice")
            raise PartExists(part_id)
        self.writing[name] = writer = _MemoryWriter(self, name)
        return writer

    def complete(self, bundle_id: str, part_ids: Sequence[str]) -> None:
        listed = {
            (bundle_id, part_id) for part_id in part_ids if object_names.part_object(bundle_id, part_id)
        }
        if not listed <= self.parts.keys():
            raise PartMissing(bundle_id)
        for name in [*self._of(bundle_id)]:
            if name not in listed and not name[1].startswith("idx_"):
                self._forget(name)
        self.completed.add(bundle_id)

    def keep_index(self, bundle_id: str, index_id: str) -> None:
        object_names.part_object(bundle_id, index_id)
        if (bundle_id, index_id) not in self.parts:
            raise PartMissing(index_id)
        for name in [*self._of(bundle_id)]:
            if name[1].startswith("idx_") and name[1] != index_id:
                self._forget(name)

    def open_part(self, bundle_id: str, part_id: str) -> _MemoryReader:
        object_names.part_object(bundle_id, part_id)
        if bundle_id not in self.completed:
            self.violations.append(f"{bundle_id} was read before it was complete, or after it was destroyed")
        if (bundle_id, part_id) not in self.parts:
            raise PartMissing(part_id)
        return _MemoryReader(self.parts[bundle_id, part_id])

    def list_bundles(self) -> Iterator[str]:
        yield from {bundle for bundle, _ in [*self.parts, *self.writing]}

    def list_parts(self, bundle_id: str) -> list[str]:
        object_names.bundle_folder(bundle_id)
        return sorted(
            part for bundle, part in self.parts if bundle == bundle_id and not part.startswith("idx_")
        )

    def destroy(self, bundle_id: str) -> int:
        names = self._of(bundle_id)
        for name in names:
            self._forget(name)
        self.completed.discard(bundle_id)
        self.destroyed.add(bundle_id)
        return len(names)

    def destroy_part(self, bundle_id: str, part_id: str) -> None:
        object_names.part_object(bundle_id, part_id)
        if bundle_id in self.completed:
            self.violations.append(f"part {part_id} was destroyed after its bundle was complete")
        self.parts.pop((bundle_id, part_id), None)

    def remains(self, bundle_id: str) -> list[str]:
        return ["/".join(name) for name in self._of(bundle_id)]

    def discard_abandoned(self) -> int:
        return 0  # a writer in memory dies with its store

    def free_space(self) -> int | None:
        return None

    def check(self) -> None:
        pass

    def _of(self, bundle_id: str) -> list[tuple[str, str]]:
        object_names.bundle_folder(bundle_id)
        return sorted(name for name in {*self.parts, *self.writing} if name[0] == bundle_id)

    def _forget(self, name: tuple[str, str]) -> None:
        self.parts.pop(name, None)
        self.writing.pop(name, None)


class StrictKeyStore:
    """`KeyStore` in memory."""

    def __init__(self) -> None:
        self.keys: dict[str, WrappedKey] = {}
        self.destroyed: set[str] = set()
        self.violations: list[str] = []

    def _refuse_destroyed(self, bundle_id: str, what: str) -> None:
        object_names.key_object(bundle_id)
        if bundle_id in self.destroyed:
            self.violations.append(f"the destroyed key of {bundle_id} was {what}")
            raise KeyDestroyed(bundle_id)

    def put(self, bundle_id: str, wrapped: WrappedKey) -> None:
        self._refuse_destroyed(bundle_id, "put again")
        if bundle_id in self.keys:
            self.violations.append(f"the key of {bundle_id} was put twice")
            raise KeyExists(bundle_id)
        self.keys[bundle_id] = wrapped

    def replace(self, bundle_id: str, wrapped: WrappedKey) -> None:
        self._refuse_destroyed(bundle_id, "replaced")
        if bundle_id not in self.keys:
            raise KeyMissing(bundle_id)
        self.keys[bundle_id] = wrapped

    def get(self, bundle_id: str) -> WrappedKey:
        self._refuse_destroyed(bundle_id, "read")
        if bundle_id not in self.keys:
            raise KeyMissing(bundle_id)
        return self.keys[bundle_id]

    def destroy(self, bundle_id: str) -> None:
        object_names.key_object(bundle_id)
        self.keys.pop(bundle_id, None)
        self.destroyed.add(bundle_id)

    def exists(self, bundle_id: str) -> bool:
        object_names.key_object(bundle_id)
        return bundle_id in self.keys

    def remains(self, bundle_id: str) -> list[str]:
        name = object_names.key_object(bundle_id)
        return [name] if bundle_id in self.keys else []

    def list_bundles(self) -> Iterator[str]:
        yield from sorted(self.keys)

    def check(self) -> None:
        pass


class MemoryKeyWrapper:
    """`KeyWrapper` in memory. `rotate()` as an operator would."""

    def __init__(self) -> None:
        self._keks: dict[str, bytes] = {}
        self.rotate()

    def rotate(self) -> str:
        self._current = f"memory-{os.urandom(8).hex()}"
        self._keks[self._current] = os.urandom(32)
        return self._current

    @property
    def current_kek_id(self) -> str:
        return self._current

    def wrap(self, data_key: DataKey, bundle_id: str) -> WrappedKey:
        nonce = os.urandom(12)
        about = f"{CURRENT} {bundle_id}".encode()
        sealed = AESGCM(self._keks[self._current]).encrypt(nonce, data_key.reveal(), about)
        return WrappedKey(self._current, "memory", nonce + sealed)

    def unwrap(self, wrapped: WrappedKey, bundle_id: str) -> DataKey:
        if wrapped.algorithm != "memory" or len(wrapped.sealed) != 60:
            raise WrappedKeyBroken("not wrapped here")
        if wrapped.kek_id not in self._keks:
            raise UnknownKeyEncryptionKey(wrapped.kek_id)
        nonce, sealed = wrapped.sealed[:12], wrapped.sealed[12:]
        try:
            about = f"{wrapped.framing} {bundle_id}".encode()
            return DataKey(AESGCM(self._keks[wrapped.kek_id]).decrypt(nonce, sealed, about))
        except InvalidTag:
            raise WrappedKeyBroken("altered, or another bundle's") from None
