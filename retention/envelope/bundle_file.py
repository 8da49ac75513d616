"""Reading a bundle: plaintext ranges over its ordered parts, and the same as a seekable file.

1. A part is checked against the manifest's digest before its first byte is read: a part sealed with the right key under
   the right name, but not the one received, is refused.
2. From then on each segment is checked against that digest and its own tag before a byte of it leaves.
3. Only `read_through` checks the digest last: for the read-back, which shows nobody a byte, with half the requests.
4. Few parts are open at a time; readers are closed with the opener.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from retention.envelope import format as fmt
from retention.envelope.data_keys import DataKey
from retention.envelope.manifest import Manifest, PartEntry
from retention.envelope.part_stream import PartOpener, Room, SealingWriter
from retention.envelope.sealed_index import SealedIndex, index_sealer
from retention.envelope.sealed_manifest import open_manifest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

OPEN_PARTS = 4
CACHED_SEGMENTS = 2


class StoredPart(Protocol):
    """A stored part, as far as opening needs it: part of `PartReader`."""

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes: ...

    def close(self) -> None: ...


@contextmanager
def open_index(
    data_key: DataKey, bundle_id: str, index_id: str, open_part: Callable[[str], StoredPart]
) -> Iterator[SealedIndex]:
    """Open a bundle's stored contents index; `SealBroken` if it does not open."""
    with closing(open_part(index_id)) as stored:
        yield SealedIndex(data_key, bundle_id, index_id, stored.size, stored.read_at)


class BundleOpener:
    """An opener of plaintext ranges of one bundle; `open_part` opens a stored part by its id. One thread at a time."""

    def __init__(self, data_key: DataKey, manifest: Manifest, open_part: Callable[[str], StoredPart]) -> None:
        self._data_key = data_key
        self._manifest = manifest
        self._open_part = open_part
        self._opened: OrderedDict[str, tuple[StoredPart, PartOpener]] = OrderedDict()

    @property
    def length(self) -> int:
        """The bundle's size in plaintext bytes."""
        return self._manifest.length

    def read(self, offset: int, length: int) -> Iterator[bytes]:
        """Yield the plaintext range, piece by piece, each checked first."""
        if offset < 0 or length < 0 or offset + length > self.length:
            raise ValueError(f"the range {offset}+{length} is outside the bundle's {self.length} bytes")
        end = offset + length
        while offset < end:
            start, opened = self.segment_at(offset)
            piece = opened[offset - start : end - start]
            offset += len(piece)
            yield piece

    def read_through(self) -> Iterator[bytes]:
        """Yield all of the plaintext, reading each stored byte once. It is proven only when the iterator has ended."""
        for entry in self._manifest.parts:
            with closing(self._open_part(entry.part_id)) as stored:
                yield from self._opener(entry, stored).read_through(entry.digest)

    def stored_manifest(self, manifest_id: str) -> Manifest:
        """Open the manifest stored with the parts under this id; `SealBroken` if it does not open."""
        with closing(self._open_part(manifest_id)) as stored:
            return open_manifest(
                self._data_key, self._manifest.bundle_id, manifest_id, stored.size, stored.read_at
            )

    def stored_index(self, index_id: str) -> AbstractContextManager[SealedIndex]:
        """Open the contents index that is stored under this id, to be closed; `SealBroken` if it does not open."""
        return open_index(self._data_key, self._manifest.bundle_id, index_id, self._open_part)

    def index_sealer(self, index_id: str, out: Room) -> SealingWriter:
        """Make the writer that seals a new contents index of this bundle."""
        return index_sealer(self._data_key, self._manifest.bundle_id, index_id, out)

    def segment_at(self, offset: int) -> tuple[int, bytes]:
        """Open the segment that holds this byte of the bundle; return where its plaintext starts, and the plaintext."""
        entry = self._manifest.part_at(offset)
        number, inside = fmt.segment_of(offset - entry.offset)
        return offset - inside, self._part(entry).open_segment(number)

    def _part(self, entry: PartEntry) -> PartOpener:
        if entry.part_id in self._opened:
            self._opened.move_to_end(entry.part_id)
            return self._opened[entry.part_id][1]
        while len(self._opened) >= OPEN_PARTS:
            self._opened.popitem(last=False)[1][0].close()
        stored = self._open_part(entry.part_id)
        try:
            opener = self._opener(entry, stored)
            opener.verify_digest(entry.digest)
        except BaseException:
            stored.close()
            raise
        self._opened[entry.part_id] = (stored, opener)
        return opener

    def _opener(self, entry: PartEntry, stored: StoredPart) -> PartOpener:
        size = fmt.ciphertext_length(entry.length)
        return PartOpener(
            self._data_key,
            self._manifest.bundle_id,
            entry.part_id,
            size,
            stored.read_at,
            framing=entry.framing,
        )

    def close(self) -> None:
        while self._opened:
            self._opened.popitem()[1][0].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SealedFile(io.RawIOBase):
    """A bundle as a seekable, readable file for archive readers. It caches the last opened segments.

    A broken seal raises `SealBroken` from any read. Closing it leaves the opener open. One thread at a time.
    """

    def __init__(self, bundle: BundleOpener) -> None:
        super().__init__()
        self._bundle = bundle
        self._position = 0
        self._segments: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._bundle.length}[whence]
        if origin + offset < 0:
            raise ValueError(f"cannot seek to {origin + offset}: a position must not be negative")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer from one segment at most; return 0 at the end, as raw files do."""
        out = memoryview(buffer).cast("B")
        if len(out) == 0 or self._position >= self._bundle.length:
            return 0
        start, opened = self._segment()
        piece = memoryview(opened)[self._position - start :][: len(out)]
        out[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _segment(self) -> tuple[int, bytes]:
        for start, opened in self._segments.items():
            if start <= self._position < start + len(opened):
                self._segments.move_to_end(start)
                return start, opened
        start, opened = self._bundle.segment_at(self._position)
        self._segments[start] = opened
        if len(self._segments) > CACHED_SEGMENTS:
            self._segments.popitem(last=False)
        return start, opened
