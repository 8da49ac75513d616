"""Data keys, wrapped keys, and the contract of their wrappers.

1. A data key is 32 random bytes, made for one bundle, and exists unwrapped in memory only.
2. At rest it is a WrappedKey: sealed by the key-encryption key, bound to its bundle's id as `framing` says.
3. Rotating the key-encryption key re-wraps data keys; bundles are never sealed anew.
4. Nothing here shows key bytes in a repr, a log, an exception or a pickle.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn, Protocol, Self

from retention.envelope import format as frames
from retention.envelope.format import NewerFraming, WrappedKeyBroken

DATA_KEY_LENGTH = 32


class DataKey:
    """A bundle's key. Compare with ==; take the bytes with reveal(), only to derive from them or to wrap them."""

    __slots__ = ("_secret",)
    __hash__ = None  # type: ignore[assignment]  # a key is not for look-ups

    def __init__(self, secret: bytes) -> None:
        if len(secret) != DATA_KEY_LENGTH:
            raise ValueError(f"a data key must have {DATA_KEY_LENGTH} bytes, not {len(secret)}")
        self._secret = bytes(secret)

    @classmethod
    def generate(cls) -> Self:
        return cls(os.urandom(DATA_KEY_LENGTH))

    def reveal(self) -> bytes:
        return self._secret

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataKey) and hmac.compare_digest(self._secret, other._secret)

    def __repr__(self) -> str:
        return "DataKey(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a data key cannot be pickled or copied")


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key under a key-encryption key: the small object in the key store."""

    kek_id: str
    algorithm: str
    sealed: bytes = field(repr=False)
    framing: int = frames.CURRENT

    def to_json(self) -> bytes:
        told = {} if self.framing == frames.FIRST else {"framing": self.framing}
        return json.dumps(
            {
                **told,
                "kek_id": self.kek_id,
                "algorithm": self.algorithm,
                "wrapped": base64.b64encode(self.sealed).decode("ascii"),
            },
            separators=(",", ":"),
        ).encode("ascii")

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Parse a stored wrapped key. `WrappedKeyBroken`, or `NewerFraming` if a newer version wrote it."""
        try:
            fields = json.loads(raw)
            framing = fields.pop("framing", frames.FIRST)
            well_formed = fields.keys() == {"kek_id", "algorithm", "wrapped"} and all(
                isinstance(value, str) for value in fields.values()
            )
            well_formed = well_formed and type(framing) is int
            sealed = base64.b64decode(fields["wrapped"], validate=True) if well_formed else None
        except (ValueError, AttributeError, TypeError):
            sealed = None
        if sealed is None:  # raised here, not in the handler: the decoder's message may quote what it read
            raise WrappedKeyBroken("the stored object is not a wrapped key")
        if framing not in frames.KNOWN:
            raise NewerFraming(f"a data key of framing {framing!r} needs a newer casevault")
        return cls(fields["kek_id"], fields["algorithm"], sealed, framing)


class KeyWrapper(Protocol):
    """The holder of a key-encryption key, which it never hands out. Every wrapper passes tests/contracts/.

    - `wrap` uses the current key-encryption key; two wraps of one key differ; each names the key that can unwrap it.
    - The bundle id is bound in: a wrapped key moved to another bundle does not unwrap.
    - After a rotation, by this process or another, `wrap` uses the new key and earlier wrapped keys still unwrap.
    - Safe from many threads. Stateless towards callers, so every call may be repeated.
    """

    @property
    def current_kek_id(self) -> str:
        """Return the id of the key that `wrap` would use now. A wrapped key with another id is due for re-wrapping."""

    def wrap(self, data_key: DataKey, bundle_id: str) -> WrappedKey:
        """Wrap for this bundle. `KeyWrapperUnavailable`, or `KeyFileRefused` for a local file."""

    def unwrap(self, wrapped: WrappedKey, bundle_id: str) -> DataKey:
        """Unwrap. `WrappedKeyBroken`: altered, another bundle's, another algorithm's.

        `UnknownKeyEncryptionKey`: wrapped by a key not held here. Both are final, unlike `KeyWrapperUnavailable`.
        """


USABLE_SECONDS = 10.0
"""How long a successful check counts: each costs a key vault two requests."""


class WrapperCheck:
    """A check that a data key can be wrapped now, by wrapping one that nobody uses. Thread-safe.

    `now` returns seconds that only ever grow. A failed check is never remembered.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._used: tuple[KeyWrapper, float] | None = None

    def require(self, wrapper: KeyWrapper) -> None:
        """Raise what `wrapper.wrap` raises when the key cannot be used."""
        used = self._used
        if used is not None and used[0] is wrapper and self._now() - used[1] < USABLE_SECONDS:
            return
        wrapper.wrap(DataKey.generate(), "nobody's")
        self._used = (wrapper, self._now())


class RotatingKeyWrapper(KeyWrapper, Protocol):
    """A wrapper whose key can be rotated from here, by anybody allowed to."""

    def rotate(self, now: datetime) -> str:
        """Make a new key-encryption key current and return its id. Re-wrap the stored keys afterwards."""
