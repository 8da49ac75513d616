"""The keys that upload links are signed with: each derived from one secret and the link's id, none stored.

- The secret is kept with the signing keys (`retention.signing`). Losing it makes every link useless and nothing else:
  links are issued anew.
- A link's key = HKDF-SHA256(secret, info = `casevault upload link v1 | <link id>`): what one link's holder could ever
  learn tells nothing about another link, and the database holds nothing that signs.
"""

from __future__ import annotations

from typing import NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from retention.signing import SigningKeyRefused

_INFO = b"casevault upload link v1|"


class LinkKeys:
    """Derives the key of a link. Not shown, not pickled. None: a process that has nothing to do with links."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret

    def key_of(self, link_id: str) -> bytes:
        """The 32 bytes that sign this link's addresses."""
        if self._secret is None:
            raise SigningKeyRefused("this process holds no key of upload links")
        return HKDF(SHA256(), 32, None, _INFO + link_id.encode()).derive(self._secret)

    def __repr__(self) -> str:
        return "LinkKeys(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("link keys are not pickled or copied")
