"""Bearer token -> Caller. The only place where a token becomes a caller.

1. One Authorization header, scheme Bearer, one token of bounded length (RFC 6750 section 2.1).
2. Exactly three unpadded base64url parts (RFC 7515 section 3.1): no other spelling of a token exists.
3. The header names an accepted algorithm (pinned by the settings), an accepted type and a key id; it carries no key,
   no address of one (jwk, jku, x5u, x5c), and nothing we must understand (crit): RFC 8725 sections 3.1, 3.10, 3.11.
4. The key comes from the issuer by its id, and is for that algorithm.
5. The signature is valid. Until then nothing in the payload is looked at.
6. The claims are valid (claims.py): those of an access token, for us, now, and they grant a role.

A verified token is remembered by its SHA-256, so that a range read does not pay for a signature again: a few minutes at
most and never past exp, so a key that the issuer withdraws stops counting within `REMEMBERED`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from jwt import PyJWS
from jwt.exceptions import InvalidSignatureError, PyJWTError

from intake_api.identity.caller import Caller, InvalidToken, TokenRefusal
from intake_api.identity.claims import caller_of, check_access_token
from intake_api.identity.config import IssuerSettings
from intake_api.identity.jwks import KeySource
from retention.clock import Clock

LONGEST_TOKEN = 16 * 1024
LONGEST_KID = 256
REMEMBERED = timedelta(minutes=5)
MOST_REMEMBERED = 4096

COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
ACCEPTED_TYPES = ACCESS_TOKEN_TYPES | {"jwt", "application/jwt"}
ID_TOKEN_TYPES = frozenset({"jwt", "application/jwt", ""})
LOGOUT_TOKEN_TYPES = ID_TOKEN_TYPES | {"logout+jwt", "application/logout+jwt"}
REFUSED_HEADERS = frozenset({"crit", "b64", "jku", "jwk", "x5u", "x5c"})


class TokenVerifier:
    """The verifier of bearer tokens. Thread-safe."""

    def __init__(self, settings: IssuerSettings, keys: KeySource, clock: Clock) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._signatures = PyJWS(algorithms=settings.algorithms)  # it does not know any others
        self._remembered = _Remembered(MOST_REMEMBERED)

    def verify(self, authorization_header: str | None) -> Caller:
        """Return the caller, or raise InvalidToken; KeysUnavailable when the issuer cannot be asked."""
        token = _bearer_token(authorization_header)
        digest, now = hashlib.sha256(token.encode()).digest(), self._clock.now()
        caller = self._remembered.get(digest, now)
        if caller is None:
            claims, by_type = self._verified_claims(token)
            check_access_token(claims, self._settings, by_type=by_type)
            caller = caller_of(claims, self._settings, now)
            self._remembered.put(digest, caller, now)
        return caller

    def signed_claims(self, token: str, types: Collection[str]) -> tuple[dict[str, object], str]:
        """Return the claims of another kind of token of the issuer, whose type is one of `types`, and its algorithm.

        Only the signature is checked, and only the sign-in may ask: such a token is nobody's right to call.
        """
        if len(token) > LONGEST_TOKEN or not COMPACT.fullmatch(token):
            raise InvalidToken(TokenRefusal.MALFORMED, "the token is not one JSON Web Token")
        claims, _ = self._verified_claims(token, types)
        return claims, str(self._signatures.get_unverified_header(token)["alg"])

    def _verified_claims(
        self, token: str, types: Collection[str] = ACCEPTED_TYPES
    ) -> tuple[dict[str, object], bool]:
        """Return the claims, and whether the token's type says that it is an access token."""
        algorithm, kid, kind = self._checked_header(token, types)
        key = self._keys.key(kid)
        if key is None:
            raise InvalidToken(
                TokenRefusal.UNKNOWN_KEY, "the token is signed with a key that the issuer does not publish"
            )
        if algorithm not in key.algorithms:
            raise InvalidToken(
                TokenRefusal.ALGORITHM_REFUSED, "the token's key is not for the token's algorithm"
            )
        try:
            payload = self._signatures.decode(token, key=key.public_key, algorithms=[algorithm])
        except InvalidSignatureError:
            raise InvalidToken(TokenRefusal.BAD_SIGNATURE, "the token's signature is not valid") from None
        except PyJWTError:
            raise InvalidToken(TokenRefusal.MALFORMED, "the token is not a JSON Web Token") from None
        return _json_object(payload), kind in ACCESS_TOKEN_TYPES

    def _checked_header(self, token: str, types: Collection[str]) -> tuple[str, str, str]:
        try:
            header = self._signatures.get_unverified_header(token)
        except PyJWTError:
            raise InvalidToken(TokenRefusal.MALFORMED, "the token is not a JSON Web Token") from None
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
        if algorithm not in self._settings.algorithms:
            raise InvalidToken(TokenRefusal.ALGORITHM_REFUSED, "the token's algorithm is not accepted")
        if not isinstance(kind, str) or kind.lower() not in types:
            raise InvalidToken(TokenRefusal.TYPE_REFUSED, "the token's type (typ) is not an access token's")
        if REFUSED_HEADERS & header.keys():
            raise InvalidToken(
                TokenRefusal.HEADER_REFUSED, "the token brings its own key or requires an extension"
            )
        if not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_KID:
            raise InvalidToken(TokenRefusal.UNKNOWN_KEY, "the token does not name its key (kid)")
        return algorithm, kid, kind.lower()


def _bearer_token(authorization_header: str | None) -> str:
    if authorization_header is None or not authorization_header.strip():
        raise InvalidToken(TokenRefusal.MISSING, "a bearer token is required")
    if len(authorization_header) > LONGEST_TOKEN:
        raise InvalidToken(TokenRefusal.TOO_LONG, f"the token is longer than {LONGEST_TOKEN} characters")
    scheme, _, token = authorization_header.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidToken(TokenRefusal.MISSING, "a bearer token is required, but another scheme was sent")
    # A second scheme or a second token, joined by a comma or a space, falls through here as well.
    token = token.lstrip(" ")  # RFC 6750 allows several
    if not COMPACT.fullmatch(token):
        raise InvalidToken(TokenRefusal.MALFORMED, "the bearer token is not one JSON Web Token")
    return token


def _json_object(payload: bytes) -> dict[str, object]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise InvalidToken(TokenRefusal.MALFORMED, "the token's payload is not a JSON object")
    return claims


@dataclass(frozen=True, slots=True)
class _Memory:
    caller: Caller
    since: datetime
    until: datetime


class _Remembered:
    """A memory of verified tokens by digest; the longest unused goes first. Forged ones never get here."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._memories: OrderedDict[bytes, _Memory] = OrderedDict()
        self._lock = Lock()

    def get(self, digest: bytes, now: datetime) -> Caller | None:
        with self._lock:
            memory = self._memories.get(digest)
            # A clock set back can make a token not valid yet: then it is verified again.
            if memory is None or not memory.since <= now < memory.until:
                return None
            self._memories.move_to_end(digest)
            return memory.caller

    def put(self, digest: bytes, caller: Caller, now: datetime) -> None:
        with self._lock:
            self._memories[digest] = _Memory(caller, now, min(caller.expires, now + REMEMBERED))
            self._memories.move_to_end(digest)
            if len(self._memories) > self._most:
                self._memories.popitem(last=False)
