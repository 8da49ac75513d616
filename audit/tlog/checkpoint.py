"""Signed notes (C2SP signed-note) and checkpoints (C2SP tlog-checkpoint), with Ed25519. Pure.

- A note is a text ending in a newline, an empty line, and signature lines `— name base64(key id || signature)`.
  The signature covers the text alone. The key id is SHA-256(name || \\n || 0x01 || public key)[:4].
- Opening a note needs one good signature by the given key. Lines of other keys (witnesses) are tolerated and say
  nothing; a bad signature under the given key is an error even beside a good one.
- A checkpoint is a note whose text is: origin, tree size, base64 root hash, then extension lines. Its origin is
  the key's name, so no other note signed by the same key (a receipt) can pass for one.
- No clock and no randomness: the same tree under the same key is the same note, whoever signs it again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_DASH = "\u2014 "
_MAX_SIGNATURES = 100
_MAX_SIZE = 2**63 - 1
_SIZE = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteError(ValueError):
    """A note that is malformed or not signed by the given key."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and its name; `key` is its text form `name+hash+base64`, for outsiders."""

    KIND: ClassVar[bytes] = b"\x01"  # Ed25519 over the text of the note
    KEY_BYTES: ClassVar[int] = 32
    ALGORITHM: ClassVar[str] = "Ed25519"

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public_key) != self.KEY_BYTES:
            raise NoteError(
                f"an {self.ALGORITHM} public key has {self.KEY_BYTES} bytes, this one {len(self.public_key)}"
            )

    @property
    def key_id(self) -> bytes:
        named = self.name.encode() + b"\n" + self.KIND + self.public_key
        return hashlib.sha256(named).digest()[:4]

    @property
    def key(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{to_base64(self.KIND + self.public_key)}"

    @classmethod
    def parse(cls, key: str) -> Self:
        parts = key.split("+", 2)  # the base64 part may hold a + of its own
        if len(parts) != 3:
            raise NoteError(f"{key!r} is not a verifier key: expected name+hash+base64")
        name, key_id, data = parts
        raw = from_base64(data)
        if raw[:1] != cls.KIND:
            raise NoteError(f"the verifier key of {name} is not of kind {cls.KIND.hex()}")
        verifier = cls(name, raw[1:])
        if verifier.key_id.hex() != key_id:
            raise NoteError(f"the verifier key's hash {key_id} does not match its name {name} and key")
        return verifier

    def verifies(self, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Signer:
    """A signing key that shows only its name and public key."""

    __slots__ = ("_private", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier = Verifier(name, public)

    @property
    def name(self) -> str:
        return self.verifier.name

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"Signer({self.verifier.key!r})"

    def __reduce__(self) -> str:
        raise TypeError("a signing key cannot be pickled: it must not be written anywhere")


def sign_note(text: str, signer: Signer) -> str:
    """Sign a text; return the note with this one signature."""
    _check_text(text)
    return f"{text}\n{signature_line(signer.verifier, signer.sign(text.encode()))}"


def signature_line(verifier: Verifier, signature: bytes) -> str:
    """Write a note's signature line."""
    return f"{_DASH}{verifier.name} {to_base64(verifier.key_id + signature)}\n"


def open_note(note: str, verifier: Verifier) -> str:
    """Check a note's signature by the verifier's key; return its text."""
    text, lines = split_note(note)
    signed = False
    for line in lines:
        name, key_id, signature = parse_signature(line)
        if (name, key_id) != (verifier.name, verifier.key_id):
            continue
        if not verifier.verifies(text.encode(), signature):
            raise NoteError(f"the note's signature by {verifier.name} is wrong")
        signed = True
    if not signed:
        raise NoteError(f"the note has no signature by {verifier.name}")
    return text


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: the log's name, its size, its root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        lines = (self.origin, str(self.size), to_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1]:
            raise NoteError(
                f"not a checkpoint: expected the lines origin, size and root, found {len(lines) - 1}"
            )
        origin, size, root, *extensions = lines[:-1]
        if not origin or not all(extensions):
            raise NoteError("not a checkpoint: its origin or an extension line is empty")
        if not _SIZE.fullmatch(size) or len(size) > 19 or int(size) > _MAX_SIZE:
            raise NoteError(
                f"the checkpoint's size must be a decimal number up to {_MAX_SIZE} without leading zeros"
            )
        raw = from_base64(root)
        if len(raw) != 32:
            raise NoteError(f"the checkpoint's root has {len(raw)} bytes; a SHA-256 hash has 32")
        return cls(origin, int(size), raw, tuple(extensions))


def sign_checkpoint(size: int, root: bytes, signer: Signer) -> str:
    """Sign a checkpoint of the signer's own log; return the note."""
    return sign_note(Checkpoint(signer.name, size, root).text(), signer)


def open_checkpoint(note: str, verifier: Verifier) -> Checkpoint:
    """Open a note as a checkpoint signed by the key of its own log."""
    checkpoint = Checkpoint.parse(open_note(note, verifier))
    if checkpoint.origin != verifier.name:
        raise NoteError(f"the checkpoint is of another log, {checkpoint.origin!r}, not of {verifier.name}")
    return checkpoint


def claimed_size(note: str) -> int:
    """Return the size in a checkpoint's note, whoever signed it."""
    return Checkpoint.parse(split_note(note)[0]).size


def split_note(note: str) -> tuple[str, list[str]]:
    """Split a note into its text and its signature lines."""
    body, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteError(
            "not a signed note: expected text, a blank line, then signature lines, each ending in a newline"
        )
    text = body + "\n"
    _check_text(text)
    lines = signatures[:-1].split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise NoteError(f"the note has {len(lines)} signature lines; at most {_MAX_SIGNATURES} are accepted")
    return text, lines


def parse_signature(line: str) -> tuple[str, bytes, bytes]:
    """Split a signature line into the key's name, the key id and the signature."""
    name, space, data = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise NoteError("malformed signature line: expected '\u2014 name base64'")
    _check_name(name)
    raw = from_base64(data)
    if len(raw) < 5:
        raise NoteError(
            f"the signature line of {name} is too short: expected a key id of 4 bytes and a signature"
        )
    return name, raw[:4], raw[4:]


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoteError("the note's text is not valid UTF-8") from None
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteError("the note's text must end in a newline and have no control character but newlines")


def _check_name(name: str) -> None:
    if not name or "+" in name or any(char.isspace() or ord(char) < 0x20 for char in name):
        raise NoteError(f"the key name {name!r} is empty, or has a space, a control character or a plus")


def to_base64(data: bytes) -> str:
    """Encode bytes in base64."""
    return base64.b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """Decode base64; NoteError for any but the one text of a value."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not base64") from None
    if to_base64(raw) != text:  # one text per value: no stray bits after the last byte
        raise NoteError("not base64")
    return raw
