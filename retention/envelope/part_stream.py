"""Sealing and opening one part, segment by segment, and sealing a stream of pieces. The format is in format.py.

Sealing
1. A sealer makes its own salt and nonce prefix; nobody can give it one, rewind it, or copy it.
2. A segment number is spent before its bytes are encrypted, so no failure makes a nonce serve twice.
3. Every segment but the last is full; nothing follows the last.
Opening
4. A segment's tag is checked before any byte of it is returned.
5. Lengths come from the manifest, never from the store; a digest, once checked, pins every segment read after it.

The part's digest = SHA-256(`casevault part digest v1` | header | tag of segment 0 | ... | tag of segment n |
plaintext length as 8 bytes big-endian). Under one key a tag stands for its segment, the header for the key, so the
digest stands for the whole part and costs 16 bytes of hashing a MiB. It distinguishes two sealings of the same part,
both of which would open.

`SealingWriter` seals pieces of any size straight into their place in the store. It holds back one piece, or one
segment's worth of gathered pieces, until more comes or `finish` says that it was the last: the last segment carries a
flag. A piece of `bytes` that fills a segment exactly is sealed in place, without a copy; so write pieces of `room`
bytes where speed counts.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.utils import Buffer

from retention.envelope import format as fmt
from retention.envelope import format as frames
from retention.envelope.data_keys import DataKey
from retention.envelope.format import LATER_PLAINTEXT, SealBroken, SealMisuse

ReadAt = Callable[[int, int], bytes]
"""(offset, length) -> the stored bytes, fewer only at the end: `PartReader.read_at`."""


def _cipher(data_key: DataKey, salt: bytes, info: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt, info).derive(data_key.reveal()))


def _digest(header: bytes, tags: bytes, plaintext: int) -> bytes:
    return hashlib.sha256(b"casevault part digest v1" + header + tags + struct.pack(">Q", plaintext)).digest()


class PartSealer:
    """A sealer of one part into memory that the caller provides. One thread at a time.

    `purpose`: what the bytes are (format.py); a part of the bundle, unless another is named.
    """

    def __init__(self, data_key: DataKey, bundle_id: str, part_id: str, purpose: str = frames.PART) -> None:
        self._header = fmt.Header(os.urandom(fmt.SALT), os.urandom(fmt.NONCE_PREFIX))
        self._cipher = _cipher(data_key, self._header.salt, frames.bound(purpose, bundle_id, part_id))
        self._number = 0
        self._length = 0
        self._tags = bytearray()
        self._open = True
        self._complete = False

    @property
    def room(self) -> int:
        """The number of plaintext bytes that fill the next segment."""
        return fmt.segment_plaintext(self._number)

    @property
    def length(self) -> int:
        """The number of plaintext bytes sealed so far."""
        return self._length

    @property
    def digest(self) -> bytes:
        """The part's digest, once the last segment is sealed."""
        if not self._complete:
            raise SealMisuse("the part has no digest yet: seal its last segment first")
        return _digest(self._header.encode(), bytes(self._tags), self._length)

    def sealed_length(self, plaintext: int) -> int:
        """Return how many bytes sealing the next segment with this much plaintext writes, to reserve them."""
        return plaintext + fmt.TAG + (fmt.HEADER if self._number == 0 else 0)

    def seal(self, plaintext: Buffer, out: memoryview, *, last: bool) -> int:
        """Seal one segment into `out` (before the first, the header); return the number of bytes written."""
        with memoryview(plaintext) as view:
            length = view.nbytes
        self._refuse_misuse(length, len(out), last)
        sealed = self.sealed_length(length)
        head = sealed - length - fmt.TAG
        out[:head] = self._header.encode()[:head]
        nonce = fmt.nonce(self._header.nonce_prefix, self._number, last=last)
        self._open = False  # rule 2: if the next line raises, this sealer is finished
        self._cipher.encrypt_into(nonce, plaintext, None, out[head:sealed])
        self._number += 1
        self._length += length
        self._tags += out[sealed - fmt.TAG : sealed]
        self._open, self._complete = not last, last
        return sealed

    def _refuse_misuse(self, length: int, room_out: int, last: bool) -> None:
        if not self._open:
            raise SealMisuse("the part is finished: make a new sealer for a new part")
        if length > self.room or (length < self.room and not last):
            raise SealMisuse(
                f"got {length} bytes: this segment takes {self.room}, or fewer if it is the last"
            )
        if length == 0 and self._number > 0:
            raise SealMisuse("got no bytes: only an empty part has an empty segment")
        if room_out < self.sealed_length(length):
            raise SealMisuse(f"got room for {room_out} bytes: sealing needs {self.sealed_length(length)}")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a sealer cannot be pickled or copied: a copy would use its nonces again")


class PartOpener:
    """An opener of ranges of one part. `ciphertext_length` is implied by the manifest. One thread at a time.

    `framing` and `purpose` are those it was sealed with; `NewerFraming` for an unknown one.
    """

    def __init__(
        self,
        data_key: DataKey,
        bundle_id: str,
        part_id: str,
        ciphertext_length: int,
        read_at: ReadAt,
        *,
        framing: int = frames.CURRENT,
        purpose: str = frames.PART,
    ) -> None:
        self._part_id = part_id
        self._size = ciphertext_length
        self._read_at = read_at
        self.length = fmt.plaintext_length(ciphertext_length)
        self._tags: bytes | None = None
        try:
            self._header = fmt.Header.parse(read_at(0, fmt.HEADER))
        except ValueError as error:
            raise self._broken(0, str(error)) from None
        info = frames.bound(purpose, bundle_id, part_id, framing=framing)
        self._cipher = _cipher(data_key, self._header.salt, info)

    def _broken(self, segment: int | None, why: str) -> SealBroken:
        return SealBroken(self._part_id, segment, why)

    def open_segment(self, number: int) -> bytes:
        """Open one segment; return its checked plaintext."""
        sealed = self._sealed(number)
        if self._tags is not None and sealed[-fmt.TAG :] != self._tag(self._tags, number):
            raise self._broken(number, "it is not the segment that the manifest names")
        return self._opened(number, sealed)

    def _sealed(self, number: int) -> bytes:
        offset, length, last = fmt.segment_extent(number, self._size)
        # For the last segment one byte more is requested, to find bytes appended after it.
        sealed = self._read_at(offset, length + last)
        if len(sealed) != length:
            raise self._broken(number, "it is shorter or longer than when it was sealed")
        return sealed

    def _opened(self, number: int, sealed: bytes) -> bytes:
        _, _, last = fmt.segment_extent(number, self._size)
        nonce = fmt.nonce(self._header.nonce_prefix, number, last=last)
        try:
            return self._cipher.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise self._broken(
                number, "its bytes, its place or its key is not what it was sealed with"
            ) from None

    def read(self, offset: int, length: int) -> Iterator[bytes]:
        """Yield the plaintext range, a piece a segment, each checked first."""
        if offset < 0 or length < 0 or offset + length > self.length:
            raise ValueError(f"the range {offset}+{length} is outside the part's {self.length} bytes")
        end = offset + length
        while offset < end:
            number, inside = fmt.segment_of(offset)
            opened = self.open_segment(number)
            piece = opened[inside : inside + end - offset]
            offset += len(piece)
            yield piece

    def read_through(self, expected: bytes) -> Iterator[bytes]:
        """Yield all of the part, each segment checked by its own tag, and the part against its digest at the end.

        Each byte is read once, and the tags are not read beforehand. For callers that pass nothing on before the end.
        """
        tags = bytearray()
        for number in range(fmt.segment_count(self._size)):
            sealed = self._sealed(number)
            tags += sealed[-fmt.TAG :]
            yield self._opened(number, sealed)
        self._check_digest(bytes(tags), expected)

    def verify_digest(self, expected: bytes) -> None:
        """Check the part against its digest, reading only header and tags; this pins all segments read later."""
        tags = b"".join(self._read_tag(number) for number in range(fmt.segment_count(self._size)))
        self._check_digest(tags, expected)
        self._tags = tags

    def _check_digest(self, tags: bytes, expected: bytes) -> None:
        if not hmac.compare_digest(_digest(self._header.encode(), tags, self.length), expected):
            raise self._broken(None, "it is not the part that the manifest names")

    def _read_tag(self, number: int) -> bytes:
        offset, length, _ = fmt.segment_extent(number, self._size)
        return self._read_at(offset + length - fmt.TAG, fmt.TAG)

    @staticmethod
    def _tag(tags: bytes, number: int) -> bytes:
        return tags[number * fmt.TAG : (number + 1) * fmt.TAG]


class Room(Protocol):
    """A place for sealed bytes: the two calls of `PartWriter` that sealing needs."""

    def reserve(self, length: int) -> memoryview: ...

    def advance(self, length: int) -> None: ...


class SealingWriter:
    """A writer that seals. The caller commits or aborts the store's writer. One thread at a time."""

    def __init__(self, sealer: PartSealer, out: Room) -> None:
        self._sealer = sealer
        self._out = out
        self._full_piece: bytes | None = None  # a full segment, held by reference
        self._gathered = bytearray()  # or pieces of one; never both

    @property
    def room(self) -> int:
        """The size of the next piece that is sealed without a copy."""
        return LATER_PLAINTEXT if self._full else self._sealer.room - len(self._gathered)

    @property
    def length(self) -> int:
        """The number of plaintext bytes written so far."""
        return self._sealer.length + len(self._full_piece or b"") + len(self._gathered)

    def write(self, piece: bytes) -> None:
        """Take a piece; seal and pass on every segment now known not to be the last."""
        view = memoryview(piece)
        while len(view):
            if self._full:
                self._seal(last=False)
            if not self._gathered and len(view) == len(piece) == self._sealer.room:
                self._full_piece = piece
                return
            take = self._sealer.room - len(self._gathered)
            self._gathered += view[:take]
            view = view[take:]

    @property
    def _full(self) -> bool:
        return self._full_piece is not None or len(self._gathered) == self._sealer.room

    def _seal(self, *, last: bool) -> None:
        plaintext = self._gathered if self._full_piece is None else self._full_piece
        need = self._sealer.sealed_length(len(plaintext))
        self._out.advance(self._sealer.seal(plaintext, self._out.reserve(need), last=last))
        self._full_piece = None
        self._gathered.clear()

    def finish(self) -> bytes:
        """Seal the held bytes as the last segment; return the part's digest. The store's `commit` comes next."""
        self._seal(last=True)
        return self._sealer.digest
