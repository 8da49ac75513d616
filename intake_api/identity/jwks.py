"""Published keys: a JSON Web Key Set (RFC 7517), fetched -> keys for verifying signatures.

- Only public asymmetric keys are taken: RSA of 2048 to 8192 bits, and EC on P-256. A key for encryption, a symmetric
  key, a key of an unknown kind, without an id or broken is ignored (RFC 7517 section 5), so that one odd key does not
  lock everybody out.
- A key verifies only the algorithms of its kind, and only its own where it names one (RFC 8725 section 3.1).
- Only the public members are read: a private key published by mistake is never loaded.
- Documents come from a server that is trusted only so far: over https, checked against the configured authorities, and
  within the bounds of `audit.http_client`. A slow or endless response ends as `DocumentUnavailable`, whatever the
  server does and when.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from audit.http_client import HttpClient, OutsideError

LARGEST = 256 * 1024
SECONDS = 6.0


class DocumentUnavailable(Exception):
    """A document that cannot be fetched, or is malformed."""


class DocumentSource(Protocol):
    """A source of JSON documents."""

    def get(self, url: str) -> Mapping[str, object]:
        """Return the JSON object at that address. DocumentUnavailable."""
        ...


class HttpsDocuments:
    """A DocumentSource over https. `authorities` is a PEM bundle to trust in place of the well-known ones."""

    def __init__(self, authorities: Path | None = None, seconds: float = SECONDS) -> None:
        self._http = HttpClient(seconds=seconds, most_bytes=LARGEST, authorities=authorities)

    def get(self, url: str) -> Mapping[str, object]:
        """Fetch the JSON object at that address. DocumentUnavailable."""
        if not url.startswith("https://"):
            raise DocumentUnavailable(f"{_where(url)}: not an https address")
        try:
            reply = self._http.get(url, {"Accept": "application/json"})
        except OutsideError as problem:
            raise DocumentUnavailable(f"{_where(url)}: {problem}") from problem
        if reply.status != 200:
            raise DocumentUnavailable(f"{_where(url)}: responded with status {reply.status}, not 200")
        try:
            document = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise DocumentUnavailable(f"{_where(url)}: not JSON") from None
        if not isinstance(document, dict):
            raise DocumentUnavailable(f"{_where(url)}: not a JSON object")
        return document


def _where(url: str) -> str:
    """Return scheme, host and path only: an address can carry a secret in its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a malformed address"
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


MOST_KEYS = 100
RSA_BITS = range(2048, 8192 + 1)  # shorter is weak; longer makes every signature check slow
PublicKey = RSAPublicKey | EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, its id, and the algorithms that it verifies."""

    kid: str
    algorithms: frozenset[str]
    public_key: PublicKey = field(repr=False)


class KeySource(Protocol):
    """A source of verification keys. Thread-safe."""

    def key(self, kid: str) -> VerificationKey | None:
        """Return the key of that id; None when the issuer has none; KeysUnavailable when that is unknown."""
        ...


class StaticKeys:
    """Keys known from the start; they never change."""

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self._keys = {key.kid: key for key in keys}

    def key(self, kid: str) -> VerificationKey | None:
        """Return the key of that id, or None."""
        return self._keys.get(kid)


def parse_key_set(document: Mapping[str, object]) -> dict[str, VerificationKey]:
    """Read the usable keys, by id. An empty set is valid (the issuer withdrew them all). ValueError if malformed."""
    entries = document.get("keys")
    if not isinstance(entries, list) or len(entries) > MOST_KEYS:
        raise ValueError(f"the issuer's key set is not a list of at most {MOST_KEYS} keys")
    keys: dict[str, VerificationKey] = {}
    for entry in entries:
        key = parse_key(entry) if isinstance(entry, dict) else None
        if key is not None:
            keys.setdefault(key.kid, key)
    return keys


def parse_key(entry: Mapping[str, object]) -> VerificationKey | None:
    """Read one key of a set; None if it is not usable here."""
    kid, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str) or not kid or entry.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    public_key = _public_key(entry)
    if public_key is None:
        return None
    kind = ("ES256",) if isinstance(public_key, EllipticCurvePublicKey) else ("RS256", "PS256")
    algorithms = frozenset(name for name in kind if entry.get("alg", name) == name)
    return VerificationKey(kid, algorithms, public_key) if algorithms else None


def _public_key(entry: Mapping[str, object]) -> PublicKey | None:
    try:
        if entry.get("kty") == "RSA":
            rsa = RSAAlgorithm.from_jwk({name: entry[name] for name in ("kty", "n", "e")})
            return rsa if isinstance(rsa, RSAPublicKey) and rsa.key_size in RSA_BITS else None
        if entry.get("kty") == "EC" and entry.get("crv") == "P-256":
            ec = ECAlgorithm.from_jwk({name: entry[name] for name in ("kty", "crv", "x", "y")})
            return ec if isinstance(ec, EllipticCurvePublicKey) else None
    except (PyJWTError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return None
