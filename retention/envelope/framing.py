"""The exact bytes that bind a ciphertext to what it is of: associated data of parts, manifests and data keys. Pure.

Framing 2, what is sealed from now on: fields, each as its length (4 bytes, big-endian) and its bytes (UTF-8):
    `casevault v2` | purpose | field | field ...
    part               bundle id | part id                    HKDF's info          format.py
    manifest           bundle id | manifest id                HKDF's info          manifest.py
    data key           key-encryption key's id | bundle id    AES-GCM's AAD        key_file.py
    data key in vault  salt | bundle id                       HMAC's message       key_vault.py
Length before content: no two lists of fields give the same bytes, and no two purposes share any.

Framing 1, what was sealed before; read, and never written:
    part               `casevault part v1` | length | bundle id | length | part id
    data key           `casevault data key v1` NUL key-encryption key's id NUL bundle id
    data key in vault  `casevault data key in a vault v1` NUL salt (16 bytes) bundle id
Framing 2 begins with a zero byte and framing 1 with a letter: neither is ever taken for the other.

Which one it was is told beside what was sealed: by the manifest for a part, by the wrapped key for itself.
"""

from __future__ import annotations

import struct
from typing import Final

from retention.envelope.errors import NewerFraming

FIRST, CURRENT = 1, 2
KNOWN = (FIRST, CURRENT)
PART: Final = "part"
MANIFEST: Final = "manifest"
DATA_KEY: Final = "data key"
DATA_KEY_IN_VAULT: Final = "data key in vault"


def bound(purpose: str, *fields: str | bytes, framing: int = CURRENT) -> bytes:
    """The bytes for these fields. `NewerFraming` for one that is not known here."""
    raw = [field.encode() if isinstance(field, str) else field for field in fields]
    if framing == CURRENT:
        return _lengthened([b"casevault v2", purpose.encode(), *raw])
    if framing == FIRST and purpose in _FIRST:
        return _first(purpose, raw)
    raise NewerFraming(f"framing {framing!r} of a {purpose} is not known here: it needs a newer casevault")


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
