"""The development issuer: tokens for anybody, on this machine only. NOT FOR PRODUCTION.

It signs with a key of its own (ES256), made at the first start and kept in a file of mode 0600 in the state folder. Its
address must be loopback (`intake_api.http.hosts`); its routes (development_routes.py) hold the service to that too.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from jwt.utils import base64url_encode

from intake_api.http.hosts import ensure_loopback
from intake_api.identity.config import IssuerSettings
from intake_api.identity.jwks import StaticKeys, VerificationKey
from retention.clock import Clock
from retention.domain.actor import Role

ALGORITHM = "ES256"
LIFETIME = timedelta(hours=1)
CLIENT = "casevault-development"


class IssuerKeyRefused(Exception):
    """A file with the development issuer's key that cannot be used as it is."""


class DevelopmentIssuer:
    """An issuer that makes the tokens asked for, signed with the key at `key_path`."""

    def __init__(self, key_path: Path, issuer: str, audience: str, clock: Clock) -> None:
        ensure_loopback(urlsplit(issuer).hostname or "")
        self.issuer = issuer
        self.audience = audience
        self._clock = clock
        self._key = _kept_key(key_path)
        public_key = self._key.public_key()
        self._jwk = ECAlgorithm.to_jwk(public_key, as_dict=True)
        self._kid = _thumbprint(self._jwk)
        self._verification_key = VerificationKey(self._kid, frozenset({ALGORITHM}), public_key)

    def token(
        self,
        subject: str,
        roles: Iterable[Role],
        directory: str | None = None,
        partner: str | None = None,
        name: str | None = None,
        lifetime: timedelta = LIFETIME,
    ) -> str:
        """Make a signed access token with these claims."""
        now = self._clock.now()
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "client_id": CLIENT,  # RFC 9068 section 2.2
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
            "jti": uuid4().hex,
            "roles": sorted(roles),
        }
        optional = {"tid": directory, "partner": partner, "name": name}
        claims.update({claim: value for claim, value in optional.items() if value})
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self._kid, "typ": "at+jwt"})

    def settings(self) -> IssuerSettings:
        """Return what a verifier needs to accept these tokens and no others."""
        return IssuerSettings(issuer=self.issuer, audiences=(self.audience,), algorithms=(ALGORITHM,))

    def key_source(self) -> StaticKeys:
        """Return the key for verifying these tokens."""
        return StaticKeys([self._verification_key])

    def key_set(self) -> dict[str, object]:
        """Return the public key as a JSON Web Key Set (RFC 7517)."""
        return {"keys": [{**self._jwk, "kid": self._kid, "use": "sig", "alg": ALGORITHM}]}


def _kept_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        _make_key(path)
    if path.stat().st_mode & 0o077:
        raise IssuerKeyRefused(
            f"{path} can be read by others: run `chmod 600` on it, or delete it for a new key"
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IssuerKeyRefused(f"{path} is not a P-256 private key in PEM: delete it for a new one") from None
    return key


def _make_key(path: Path) -> None:
    """Make the key file, whole or not at all: two processes that start at once end up with one whole key."""
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was first: its key counts
    finally:
        draft.unlink()


def _thumbprint(jwk: Mapping[str, object]) -> str:
    """Return the thumbprint (RFC 7638): over the key's own members, in the order of their names, without spaces."""
    canonical = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    return base64url_encode(hashlib.sha256(canonical.encode()).digest()).decode()
