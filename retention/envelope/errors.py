"""What can go wrong in sealing, opening and key handling. No message holds key material or plaintext."""

from __future__ import annotations


class EnvelopeError(Exception):
    """Any failure of the envelope."""


class ImpossibleLength(EnvelopeError, ValueError):
    """No sealed part has this length."""


class SealMisuse(EnvelopeError):
    """The caller broke a rule of sealing; nothing was sealed by the refused call."""


class NewerFraming(EnvelopeError, ValueError):
    """What was sealed is bound in a way that only a newer version knows. Not damage: that version opens it."""


class SealBroken(EnvelopeError):
    """Stored bytes are not what was sealed: flipped, dropped, swapped, truncated, replayed or of another key."""

    def __init__(self, part_id: str, segment: int | None, why: str) -> None:
        where = f"part {part_id}" if segment is None else f"part {part_id}, segment {segment}"
        super().__init__(f"the seal of {where} is broken: {why}")
        self.part_id = part_id
        self.segment = segment


class KeyWrapperError(EnvelopeError):
    """Any failure of the key-encryption key."""


class KeyFileRefused(KeyWrapperError):
    """The local key file is missing, open to others, malformed, or already there. The message says what to do."""


class UnknownKeyEncryptionKey(KeyWrapperError):
    """The data key was wrapped by a key-encryption key that this wrapper does not hold."""


class WrappedKeyBroken(KeyWrapperError):
    """The wrapped key was altered, belongs to another bundle, or is not one at all."""


class KeyWrapperUnavailable(KeyWrapperError):
    """The key-encryption key cannot be used now; the same call may succeed later.

    `cause` says why and what to do without saying which key it is: anybody may be told it.
    """

    def __init__(self, message: str, cause: str = "cannot be used now") -> None:
        super().__init__(message)
        self.cause = cause
