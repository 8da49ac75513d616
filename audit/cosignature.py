"""Cosignatures (C2SP tlog-cosignature, Ed25519): a witness's word that it saw this checkpoint extend all before. Pure.

- A signature line of a note, of kind 0x04: a POSIX time (uint64, big-endian) and an Ed25519 signature over
  `cosignature/v1`, `time <decimal>`, and the note's whole text.
- `open_note` opens a note by a `CosignatureVerifier` as by any other key. The message does not bind the witness's
  name, so one key serves one name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from audit.checkpoint import (
    NoteError,
    Signer,
    Verifier,
    open_note,
    parse_signature,
    signature_line,
    split_note,
)

_TIME = struct.Struct(">Q")
_MAX_TIME = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CosignatureVerifier(Verifier):
    """A witness's public key and name."""

    KIND: ClassVar[bytes] = b"\x04"

    def verifies(self, message: bytes, signature: bytes) -> bool:
        if len(signature) != _TIME.size + 64:
            return False
        (seconds,) = _TIME.unpack_from(signature)
        # Zero says that the time means nothing: a witness of checkpoints always gives one.
        timed = 0 < seconds <= _MAX_TIME and _message(message, seconds)
        return bool(timed) and Verifier(self.name, self.public_key).verifies(timed, signature[_TIME.size :])


class Cosigner:
    """A witness's signing key. Shows only its name and public key."""

    __slots__ = ("_signer", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        self._signer = Signer(name, seed)
        self.verifier = CosignatureVerifier(name, self._signer.verifier.public_key)

    def cosign(self, text: str, now: datetime) -> str:
        """The signature line for a note's text."""
        seconds = int(now.timestamp())
        signature = self._signer.sign(_message(text.encode(), seconds))
        return signature_line(self.verifier, _TIME.pack(seconds) + signature)

    def __repr__(self) -> str:
        return f"Cosigner({self.verifier.key!r})"


def own_lines(note: str, verifier: Verifier) -> list[str]:
    """The note's lines of this key, which must be good; NoteError if there is none or one is bad."""
    open_note(note, verifier)
    _, lines = split_note(note)
    return [f"{line}\n" for line in lines if parse_signature(line)[:2] == (verifier.name, verifier.key_id)]


def cosigned_at(note: str, verifier: CosignatureVerifier) -> datetime:
    """When the witness last cosigned the note; NoteError if it did not."""
    times = []
    for line in own_lines(note, verifier):
        (seconds,) = _TIME.unpack_from(parse_signature(line.removesuffix("\n"))[2])
        times.append(seconds)
    try:
        return datetime.fromtimestamp(max(times), UTC)
    except (ValueError, OverflowError):
        raise NoteError("the cosignature's time is no time") from None


def _message(text: bytes, seconds: int) -> bytes:
    return b"cosignature/v1\ntime %d\n%b" % (seconds, text)
