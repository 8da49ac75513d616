"""Cosignatures (C2SP tlog-cosignature): a witness's word that a checkpoint extends all it saw before. Pure.

- A signature line of a note: a POSIX time (uint64, big-endian) and a signature. `open_note` opens a note by a
  `CosignatureVerifier` as by any other key.
- Kind 0x04, Ed25519 over `cosignature/v1`, `time <decimal>`, and the note's whole text. The message does not bind the
  witness's name, so one key serves one name.
- Kind 0x06, ML-DSA-44 (FIPS 204) over a `cosigned_message`: it binds the witness's name, the log's origin, the tree's
  size and root. It does not cover extension lines, so a checkpoint with any does not count as cosigned by it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from audit.tlog.checkpoint import (
    Checkpoint,
    NoteError,
    Signer,
    Verifier,
    from_base64,
    open_note,
    parse_signature,
    signature_line,
    split_note,
)

_TIME, _RANGE = struct.Struct(">Q"), struct.Struct(">QQ")
_LABEL = b"subtree/v1\n\0"
_MAX_TIME = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CosignatureVerifier(Verifier):
    """A witness's public key and name."""

    KIND: ClassVar[bytes] = b"\x04"
    SIGNATURE_BYTES: ClassVar[int] = 64

    def verifies(self, message: bytes, signature: bytes) -> bool:
        if len(signature) != _TIME.size + self.SIGNATURE_BYTES:
            return False
        (seconds,) = _TIME.unpack_from(signature)
        # Zero would say that the time means nothing: a witness of checkpoints always gives one.
        return 0 < seconds <= _MAX_TIME and self._signed(message, seconds, signature[_TIME.size :])

    def _signed(self, text: bytes, seconds: int, signature: bytes) -> bool:
        return Verifier(self.name, self.public_key).verifies(_message(text, seconds), signature)


@dataclass(frozen=True, slots=True)
class MldsaCosignatureVerifier(CosignatureVerifier):
    """The public key and name of a witness that signs by ML-DSA-44."""

    KIND: ClassVar[bytes] = b"\x06"
    KEY_BYTES: ClassVar[int] = 1312
    SIGNATURE_BYTES: ClassVar[int] = 2420
    ALGORITHM: ClassVar[str] = "ML-DSA-44"

    def _signed(self, text: bytes, seconds: int, signature: bytes) -> bool:
        try:
            message = _cosigned_message(self.name, seconds, Checkpoint.parse(text.decode()))
            MLDSA44PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, NoteError):
            return False
        return True


def parse_witness_key(key: str) -> CosignatureVerifier:
    """Parse a witness's key of either kind from its text form; NoteError if it is malformed."""
    kinds = {kind.KIND: kind for kind in (CosignatureVerifier, MldsaCosignatureVerifier)}
    found = from_base64(key.split("+", 2)[-1])[:1]
    return kinds.get(found, CosignatureVerifier).parse(key)


class Cosigner:
    """A witness's signing key. Shows only its name and public key."""

    __slots__ = ("_signer", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        self._signer = Signer(name, seed)
        self.verifier = CosignatureVerifier(name, self._signer.verifier.public_key)

    def cosign(self, text: str, now: datetime) -> str:
        """Sign a note's text; return the signature line."""
        seconds = int(now.timestamp())
        signature = self._signer.sign(_message(text.encode(), seconds))
        return signature_line(self.verifier, _TIME.pack(seconds) + signature)

    def __repr__(self) -> str:
        return f"Cosigner({self.verifier.key!r})"


def own_lines(note: str, verifier: Verifier) -> list[str]:
    """Return the note's lines by this key, checked; NoteError if there is none or one is bad."""
    open_note(note, verifier)
    _, lines = split_note(note)
    return [f"{line}\n" for line in lines if parse_signature(line)[:2] == (verifier.name, verifier.key_id)]


def cosigned_at(note: str, verifier: CosignatureVerifier) -> datetime:
    """Return when the witness last cosigned the note; NoteError if it did not."""
    times = []
    for line in own_lines(note, verifier):
        (seconds,) = _TIME.unpack_from(parse_signature(line.removesuffix("\n"))[2])
        times.append(seconds)
    try:
        return datetime.fromtimestamp(max(times), UTC)
    except (ValueError, OverflowError):
        raise NoteError("the cosignature's time is outside the calendar") from None


def _cosigned_message(name: str, seconds: int, checkpoint: Checkpoint) -> bytes:
    """Encode the message that a witness of kind 0x06 signs; NoteError where it cannot sign one."""
    if checkpoint.extensions:
        raise NoteError("the checkpoint has extension lines, which an ML-DSA-44 cosignature does not cover")
    named, origin = name.encode(), checkpoint.origin.encode()
    if not len(named) < 256 > len(origin):
        raise NoteError("the witness's or the log's name is longer than the 255 bytes of a cosigned message")
    return b"".join(
        (
            _LABEL,
            bytes([len(named)]) + named,
            _TIME.pack(seconds),
            bytes([len(origin)]) + origin,
            _RANGE.pack(0, checkpoint.size),
            checkpoint.root,
        )
    )


def _message(text: bytes, seconds: int) -> bytes:
    return b"cosignature/v1\ntime %d\n%b" % (seconds, text)
