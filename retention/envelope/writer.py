"""Sealing a run of bytes that comes in pieces of any size, straight into the place where it is stored.

One piece, or one segment's worth of gathered pieces, is held back until more comes or `finish` says that it was the
last: the last segment carries a flag. A piece of `bytes` that fills a segment exactly is sealed where it lies, without
a copy; so feed pieces of `room` bytes where speed counts.
"""

from __future__ import annotations

from typing import Protocol

from retention.envelope.format import LATER_PLAINTEXT
from retention.envelope.stream import PartSealer


class Room(Protocol):
    """Where sealed bytes go: the two calls of `PartWriter` that sealing needs."""

    def reserve(self, length: int) -> memoryview: ...

    def advance(self, length: int) -> None: ...


class SealingWriter:
    """Seals what is written to it. The store's writer is the caller's to commit or abort. One thread at a time."""

    def __init__(self, sealer: PartSealer, out: Room) -> None:
        self._sealer = sealer
        self._out = out
        self._whole: bytes | None = None  # a full segment, held by reference
        self._gathered = bytearray()  # or pieces of one; never both

    @property
    def room(self) -> int:
        """The size of the next piece that needs no copy."""
        return LATER_PLAINTEXT if self._full else self._sealer.room - len(self._gathered)

    @property
    def length(self) -> int:
        """Plaintext bytes written so far."""
        return self._sealer.length + len(self._whole or b"") + len(self._gathered)

    def write(self, piece: bytes) -> None:
        """Take a piece; seals and passes on every segment that is now known not to be the last."""
        view = memoryview(piece)
        while len(view):
            if self._full:
                self._seal(last=False)
            if not self._gathered and len(view) == len(piece) == self._sealer.room:
                self._whole = piece
                return
            take = self._sealer.room - len(self._gathered)
            self._gathered += view[:take]
            view = view[take:]

    @property
    def _full(self) -> bool:
        return self._whole is not None or len(self._gathered) == self._sealer.room

    def _seal(self, *, last: bool) -> None:
        plaintext = self._gathered if self._whole is None else self._whole
        need = self._sealer.sealed_length(len(plaintext))
        self._out.advance(self._sealer.seal(plaintext, self._out.reserve(need), last=last))
        self._whole = None
        self._gathered.clear()

    def finish(self) -> bytes:
        """Seal what is held as the last segment; the part's digest. The store's `commit` comes next."""
        self._seal(last=True)
        return self._sealer.digest
