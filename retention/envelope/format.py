"""The sealed format: a part's bytes and arithmetic, associated data, and the envelope's errors. Pure.

A part is sealed as Tink streaming AEAD, AES256_GCM_HKDF_1MB:

    sealed part = header | segment 0 | segment 1 | ... | segment n
    header      = header length (1 byte, 40) | salt (32) | nonce prefix (7)
    segment     = AES-256-GCM ciphertext | tag (16), GCM's own associated data empty

Header and segment 0 together, and every later segment but the last, are exactly 1 MiB; so segment k starts at k MiB
(segment 0 after the header) and holds 1,048,520 plaintext bytes (k = 0) or 1,048,560. The last segment may be shorter;
only that of an empty part is empty. A part ending with a full segment gets no empty one after it.

Key        HKDF-SHA256(ikm = data key, salt, info = associated data) -> 32 bytes: one AES key a part.
Nonce      prefix (7) | segment number (4, big-endian) | 1 if the segment is the last, else 0
           - The pair (AES key, nonce) never repeats: the salt, hence the AES key, is drawn afresh for each part and
             never passed in, and within a part each segment number is used once. The prefix is random too, as the
             format requires; uniqueness does not depend on it.
           - The number pins a segment's place: swapped, dropped, doubled segments do not open.
           - The flag pins the end: cutting at a segment boundary makes a segment the last that was not sealed as last.
Associated data pins the part to its bundle and its name: a part moved to another name derives another key. The same
bytes ("framing") bind manifests and data keys:

Framing 2, of everything sealed now: fields, each as its length (4 bytes, big-endian) and its bytes (UTF-8):
    `casevault v2` | purpose | field | field ...
    part               bundle id | part id                    HKDF's info          format.py
    manifest           bundle id | manifest id                HKDF's info          manifest.py
    contents index     bundle id | index id                   HKDF's info          sealed_index.py
    data key           key-encryption key's id | bundle id    AES-GCM's AAD        key_file.py
    data key in vault  salt | bundle id                       HMAC's message       key_vault.py
Length before content: no two lists of fields give the same bytes, and no two purposes share any.

Framing 1, of everything sealed earlier; read, and never written:
    part               `casevault part v1` | length | bundle id | length | part id
    data key           `casevault data key v1` NUL key-encryption key's id NUL bundle id
    data key in vault  `casevault data key in a vault v1` NUL salt (16 bytes) bundle id
Framing 2 begins with a zero byte and framing 1 with a letter: neither is ever taken for the other. The framing used is
stored beside the ciphertext: a part's in the manifest, a data key's in its wrapped key.

No message of an error holds key material or plaintext.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Self


class EnvelopeError(Exception):
    """Any failure of the envelope."""


class ImpossibleLength(EnvelopeError, ValueError):
    """A length that no sealed part has."""


class SealMisuse(EnvelopeError):
    """A call that breaks a rule of sealing; it sealed nothing."""


class NewerFraming(EnvelopeError, ValueError):
    """Sealed bytes bound in a way that only a newer version knows. Not damage: that version opens them."""


class SealBroken(EnvelopeError):
    """Stored bytes that are not what was sealed: flipped, dropped, swapped, truncated, replayed or of another key."""

    def __init__(self, part_id: str, segment: int | None, why: str) -> None:
        where = f"part {part_id}" if segment is None else f"part {part_id}, segment {segment}"
        super().__init__(f"the seal of {where} is broken: {why}")
        self.part_id = part_id
        self.segment = segment


class KeyWrapperError(EnvelopeError):
    """Any failure of the key-encryption key."""


class KeyFileRefused(KeyWrapperError):
    """A local key file that is missing, open to others, malformed, or already there. The message says what to do."""


class UnknownKeyEncryptionKey(KeyWrapperError):
    """A data key wrapped by a key-encryption key that this wrapper does not hold."""


class WrappedKeyBroken(KeyWrapperError):
    """A wrapped key that was altered, belongs to another bundle, or is not one at all."""


class KeyWrapperUnavailable(KeyWrapperError):
    """A key-encryption key that cannot be used now; the same call may succeed later.

    `cause` says why and what to do without naming the key, so anybody may see it.
    """

    def __init__(self, message: str, cause: str = "cannot be used now") -> None:
        super().__init__(message)
        self.cause = cause


NAME = "AES256_GCM_HKDF_1MB"

SEGMENT = 1 << 20
TAG = 16
SALT = 32
NONCE_PREFIX = 7
HEADER = 1 + SALT + NONCE_PREFIX
FIRST_PLAINTEXT = SEGMENT - HEADER - TAG
LATER_PLAINTEXT = SEGMENT - TAG
SEGMENTS_MAX = 1 << 32


@dataclass(frozen=True, slots=True)
class Header:
    """The first 40 bytes of a sealed part."""

    salt: bytes
    nonce_prefix: bytes

    def encode(self) -> bytes:
        return bytes([HEADER]) + self.salt + self.nonce_prefix

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        if len(raw) != HEADER or raw[0] != HEADER:
            raise ValueError("these bytes are not the header of a sealed part")
        return cls(raw[1 : 1 + SALT], raw[1 + SALT :])


def nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    """Build the nonce of one segment; see above for why none repeats."""
    if not 0 <= number < SEGMENTS_MAX:
        raise ImpossibleLength(f"a part has no segment {number}")
    return struct.pack(">7sIB", prefix, number, last)


def segment_of(plaintext_offset: int) -> tuple[int, int]:
    """Return the segment that holds this plaintext byte, and its offset within that segment's plaintext."""
    if plaintext_offset < FIRST_PLAINTEXT:
        return 0, plaintext_offset
    number, inside = divmod(plaintext_offset - FIRST_PLAINTEXT, LATER_PLAINTEXT)
    return number + 1, inside


def segment_start(number: int) -> int:
    """Return the plaintext offset of the segment's first byte."""
    return 0 if number == 0 else FIRST_PLAINTEXT + (number - 1) * LATER_PLAINTEXT


def segment_plaintext(number: int) -> int:
    """Return how many plaintext bytes fill this segment."""
    return FIRST_PLAINTEXT if number == 0 else LATER_PLAINTEXT


def segment_count(ciphertext: int) -> int:
    """Count the segments in a sealed part of this length."""
    count = -(-ciphertext // SEGMENT)
    smallest = HEADER + TAG if count <= 1 else (count - 1) * SEGMENT + TAG + 1
    if ciphertext < smallest or count > SEGMENTS_MAX:
        raise ImpossibleLength(f"no sealed part has {ciphertext} bytes")
    return count


def segment_extent(number: int, ciphertext: int) -> tuple[int, int, bool]:
    """Locate the segment in a sealed part of this length: offset, length with tag, whether it is the last."""
    count = segment_count(ciphertext)
    if not 0 <= number < count:
        raise ImpossibleLength(f"a sealed part of {ciphertext} bytes has no segment {number}")
    start = HEADER if number == 0 else number * SEGMENT
    end = min((number + 1) * SEGMENT, ciphertext)
    return start, end - start, number == count - 1


def ciphertext_length(plaintext: int) -> int:
    """Return the length of the sealed part for this many plaintext bytes."""
    if plaintext < 0:
        raise ImpossibleLength(f"{plaintext} is not a length: it must not be negative")
    last, _ = segment_of(max(plaintext - 1, 0))
    return plaintext + HEADER + (last + 1) * TAG


def plaintext_length(ciphertext: int) -> int:
    """Return the plaintext length of a sealed part of this length. `ImpossibleLength` where no part has it."""
    return ciphertext - HEADER - segment_count(ciphertext) * TAG


FIRST, CURRENT = 1, 2
KNOWN = (FIRST, CURRENT)
PART: Final = "part"
MANIFEST: Final = "manifest"
INDEX: Final = "contents index"
DATA_KEY: Final = "data key"
DATA_KEY_IN_VAULT: Final = "data key in vault"


def bound(purpose: str, *fields: str | bytes, framing: int = CURRENT) -> bytes:
    """Encode the associated data for these fields. `NewerFraming` for an unknown framing."""
    raw = [field.encode() if isinstance(field, str) else field for field in fields]
    if framing == CURRENT:
        return _lengthened([b"casevault v2", purpose.encode(), *raw])
    if framing == FIRST and purpose in _FIRST:
        return _first(purpose, raw)
    raise NewerFraming(f"framing {framing!r} of a {purpose} is unknown here: it needs a newer casevault")


def _lengthened(fields: list[bytes]) -> bytes:
    return b"".join(struct.pack(">I", len(field)) + field for field in fields)


_FIRST = {
    PART: b"casevault part v1",
    DATA_KEY: b"casevault data key v1\0",
    DATA_KEY_IN_VAULT: b"casevault data key in a vault v1\0",
}


def _first(purpose: str, fields: list[bytes]) -> bytes:
    joined = {PART: _lengthened, DATA_KEY: b"\0".join, DATA_KEY_IN_VAULT: b"".join}[purpose]
    return _FIRST[purpose] + joined(fields)
