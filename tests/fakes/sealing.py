"""Sealed parts in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from retention.envelope.data_keys import DataKey
from retention.envelope.format import ciphertext_length
from retention.envelope.part_stream import PartOpener, PartSealer, SealingWriter
from tests.fakes.ids import bundle, part

B = bundle(1)
P = part(1)


@dataclass(frozen=True)
class Sealed:
    part_id: str
    sealed: bytes
    length: int
    digest: bytes


class Memory:
    """Where sealed bytes go."""

    def __init__(self) -> None:
        self.content = b""
        self._room = bytearray()

    def reserve(self, length: int) -> memoryview:
        self._room = bytearray(length)
        return memoryview(self._room)

    def advance(self, length: int) -> None:
        self.content += self._room[:length]


def patterned(length: int, seed: str = "") -> bytes:
    """Bytes without repetition."""
    return hashlib.shake_128(seed.encode()).digest(length)


def seal(data_key: DataKey, *pieces: bytes, part_id: str = P, bundle_id: str = B) -> Sealed:
    """Seal the pieces as one part."""
    memory = Memory()
    writer = SealingWriter(PartSealer(data_key, bundle_id, part_id), memory)
    for piece in pieces:
        writer.write(piece)
    digest = writer.finish()
    return Sealed(part_id, memory.content, writer.length, digest)


def opener(data_key: DataKey, sealed: Sealed, stored: bytes | None = None) -> PartOpener:
    """Open what is `stored` in the place of the sealed part."""
    content = sealed.sealed if stored is None else stored

    def read_at(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    return PartOpener(data_key, B, sealed.part_id, ciphertext_length(sealed.length), read_at)
